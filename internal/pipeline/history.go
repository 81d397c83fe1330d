package pipeline

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/router"
)

// eras returns where the eras of the database's history begin. Those that are not settled
// have no number, or one that nothing is published under yet.
func eras(all []capture.Era) position.History {
	h := make(position.History, len(all))
	for i, e := range all {
		h[i] = position.Era{Epoch: e.Epoch, Begin: e.Begin, Before: e.Before}
	}
	return h
}

func (r *run) historyTopic() broker.Partition {
	return broker.Partition{Topic: wire.TopicName(r.cfg.Namespace, history.Topic(r.cfg.Name))}
}

// readHistoryLimit bounds how long a record may take that the broker says is there.
const readHistoryLimit = 15 * time.Second

var errNotDelivered = errors.New("not delivered within " + readHistoryLimit.String())

// readHistory reads the record at the end of the history topic.
func (r *run) readHistory(ctx context.Context, p broker.Partition, at broker.MessageID) (*history.Record, error) {
	at.Batch = -1
	reader, err := r.client.Read(ctx, p, broker.Start{FromEntry: &at})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	limited, cancel := context.WithTimeoutCause(ctx, readHistoryLimit, errNotDelivered)
	defer cancel()
	m, err := reader.Next(limited)
	if err != nil {
		return nil, fmt.Errorf("read the last record of %s: %w", p, cmp.Or(context.Cause(limited), err))
	}
	return history.FromMessage(m)
}

// settleHistory lets the pipeline publish events of the eras that began since it last did,
// if its topics hold nothing that the database has lost.
//
// Invariant: when it is recorded that an era is settled, no daemon can publish an event of
// the eras before it that this database does not hold. For it publishes as the history
// topic's producer, which this one is until the record of the new era is there; and then
// it refuses to.
func (r *run) settleHistory(ctx context.Context) error {
	unsettled := r.source.Unsettled()
	if len(unsettled) == 0 {
		return nil
	}
	r.log.Warn("the server's history has forked: looking for events that were published, and that it has lost",
		"timeline", unsettled[len(unsettled)-1].Timeline, "fork", formatLSN(unsettled[0].Begin))
	f, err := r.acquireHistory(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	// Twice: what is lost can be told without a claim, of which there would be one for each
	// time that it is looked whether a person has decided. Nor was an add that the broker had
	// taken and not counted in what was read first, see errStillStored.
	c, err := r.compareHistory(ctx, f)
	if err == nil && c.lost.Count == 0 {
		if err = f.claim(ctx); err == nil {
			c, err = r.compareHistory(ctx, f)
		}
	}
	if err != nil {
		return err
	}
	if c.lost.Count > 0 {
		return c.lost.fault(unsettled[0])
	}
	failpoint.Hit("pipeline.settle") // nothing was lost, and that is not recorded
	if err := r.source.Settle(ctx, c.greatest, r.toSave(c.tails)); err != nil {
		return err
	}
	if err := r.publishEras(ctx, f); err != nil {
		return err
	}
	r.log.Info("nothing was lost: going on", "epoch", r.source.Epoch())
	return nil
}

// comparison is what a pipeline's topics hold, beside a database with unsettled eras.
type comparison struct {
	lost     Lost
	greatest uint32 // epoch that anything was published under
	tails    tails
}

func (r *run) compareHistory(ctx context.Context, f *fence) (c comparison, err error) {
	if c.greatest, err = r.othersNewest(ctx); err != nil {
		return c, err
	}
	if r.source.Moved() {
		c.lost, c.tails, err = r.lackedEvents(ctx)
	} else {
		c.lost, c.tails, err = r.lostEvents(ctx, r.forkedAt())
	}
	for _, tail := range c.tails {
		c.greatest = max(c.greatest, tail.Epoch)
	}
	if f.last != nil {
		c.greatest = max(c.greatest, f.last.Newest().Epoch)
	}
	return c, err
}

// othersNewest returns the greatest epoch that other pipelines of the database have
// published under, as their history topics have it: what one has numbered, and its
// database has lost, must not be another history's number.
func (r *run) othersNewest(ctx context.Context) (uint32, error) {
	db, err := r.connect(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	rows, _ := db.Query(ctx, `select distinct pipeline, regexp_replace(topic, '[^/]*$', '') from runnel.progress_partition where pipeline <> $1`, r.cfg.Name)
	newest, name, namespace := uint32(0), "", ""
	_, err = pgx.ForEachRow(rows, []any{&name, &namespace}, func() error {
		p := broker.Partition{Topic: namespace + history.Topic(name)}
		last, err := history.ReadLast(ctx, r.client, p, producerName(name))
		switch {
		case errors.Is(err, broker.ErrTopicMissing):
			return nil
		case errors.Is(err, broker.ErrForbidden): // that two have one number would be noticed: Record.Differs
			r.log.Warn("the history topic of another pipeline may not be read: its epochs are taken to be those of the database", "pipeline", name, "error", err)
			return nil
		case last != nil:
			newest = max(newest, last.Newest().Epoch)
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("look for the epochs of the database's other pipelines: %w", err)
	}
	return newest, nil
}

// maxLost bounds how many lost events are kept in memory.
const maxLost = 10_000

// LostEvent is an event that was published, and that the database has lost.
type LostEvent struct {
	Topic     string         `json:"topic"`
	Partition int            `json:"partition"`
	Position  position.Stamp `json:"-"`
	ID        string         `json:"id"`
	Type      string         `json:"type"`
	Key       string         `json:"key"` // the aggregate's id
}

// Lost are the events that were published, and that the database has lost.
type Lost struct {
	Count  int
	Events []LostEvent // maxLost at most, by topic, partition and position
	digest [sha256.Size]byte
}

// add adds an event. The digest is of all of them, in whatever order they come.
func (l *Lost) add(e LostEvent) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s %s", e.Topic, e.Partition, e.Position, e.ID))
	for i := range sum {
		l.digest[i] ^= sum[i]
	}
	if l.Count++; len(l.Events) < maxLost {
		l.Events = append(l.Events, e)
	}
}

// sort puts the events in order.
func (l *Lost) sort() {
	slices.SortFunc(l.Events, func(a, b LostEvent) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), a.Partition-b.Partition, a.Position.Compare(b.Position.Position))
	})
}

// lostEvents looks for what the partitions hold from a position on, and the history does
// not.
func (r *run) lostEvents(ctx context.Context, from position.Position) (lost Lost, all tails, err error) {
	h := eras(r.source.Eras())
	var mu sync.Mutex
	all, err = r.eachTail(ctx, func(ctx context.Context, p broker.Partition, tail position.Stamp) error {
		if tail.Ordinal == 0 || h.Holds(tail.Position) || r.isDeadLetters(p) { // what is parked was not published
			return nil
		}
		return r.readLost(ctx, p, from, h, func(e LostEvent) error {
			mu.Lock()
			defer mu.Unlock()
			lost.add(e)
			return nil
		})
	})
	lost.sort()
	return lost, all, err
}

// forkedAt is the first position that the database would have lost.
func (r *run) forkedAt() position.Position {
	all, unsettled := r.source.Eras(), r.source.Unsettled()
	if len(unsettled) == len(all) {
		return position.Position{}
	}
	return position.Position{Epoch: all[len(all)-len(unsettled)-1].Epoch, LSN: unsettled[0].Before}
}

// readLost tells found of each event of a partition that the history does not hold.
func (r *run) readLost(ctx context.Context, p broker.Partition, from position.Position, h position.History, found func(LostEvent) error) error {
	return r.eachOwn(ctx, p, from, func(stamp position.Stamp, m *broker.Incoming) error {
		if stamp.Less(from) || h.Holds(stamp.Position) {
			return nil
		}
		return found(LostEvent{Topic: p.Topic, Partition: p.Index, Position: stamp, ID: m.Properties[router.PropertyID], Type: m.Properties[router.PropertyType], Key: m.Key})
	})
}

// shownLost is how many lost events an error names.
const shownLost = 10

func (l Lost) fault(era capture.Era) error {
	aggregates := make(map[string]bool)
	var shown []string
	for i, e := range l.Events {
		aggregates[e.Topic+" "+e.Key] = true
		if i < shownLost {
			shown = append(shown, fmt.Sprintf("%s %s of %s", e.Type, e.ID, e.Key))
		}
	}
	if l.Count > shownLost {
		shown = append(shown, "...")
	}
	return ErrHistoryLost.New("the server's timeline %d forked at %s, and %d events of %d aggregates were published that it does not hold: %s",
		era.Timeline, formatLSN(era.Begin), l.Count, len(aggregates), strings.Join(shown, ", "))
}

// takeHistory makes this run the one that publishes for the pipeline, and writes the eras
// of its database into the history topic, before anything is published under them. It is
// called once the slot is ours. The right ends with the run; losing it ends the run.
func (r *run) takeHistory(ctx, hard context.Context, l *loop) error {
	f, err := r.acquireHistory(ctx)
	if err != nil {
		return err
	}
	r.fence = f
	if r.unsettle(f) {
		return cmp.Or(r.source.RecordUnsettled(ctx, f.last.Newest().Epoch), errNotPublished)
	}
	if err := r.publishEras(ctx, f); err != nil {
		return err
	}
	l.watch(hard, f, r.historyTopic())
	l.check = f.check
	return nil
}

// errNotPublished is no fault: the next run compares again.
var errNotPublished = errors.New("an era was recorded in the database and not in the history topic: starting over to compare them")

// unsettle takes back that the eras are settled which the history topic does not hold. A
// daemon that settled them has ended, or lost the right, before it wrote them there: since
// then another may have published events that this database has lost.
func (r *run) unsettle(f *fence) (behind bool) {
	switch {
	case f.last == nil || f.last.Newest().Epoch >= r.source.Epoch() || len(r.source.Unsettled()) > 0:
		return false
	case r.eraRecord().Differs(*f.last) != "":
		return false // another database's: publishEras says so
	}
	r.source.Unsettle(f.last.Newest().Epoch)
	return true
}

// eraRecord is the history as the database has it.
func (r *run) eraRecord() history.Record {
	record := history.Record{Pipeline: r.cfg.Name}
	for _, e := range r.source.Eras() {
		record.Eras = append(record.Eras, history.NewEra(e.Epoch, e.SystemID, e.Timeline, e.Begin, e.Before))
	}
	return record
}

// publishEras writes the eras of the database into the history topic, if they are not
// there: from then on who has not heard of the newest can't publish.
func (r *run) publishEras(ctx context.Context, f *fence) error {
	mine := r.eraRecord()
	if f.last != nil {
		mine.Routing = f.last.Routing
		if err := r.checkEras(*f.last); err != nil {
			return err
		}
	}
	if f.last == nil || f.last.Newest().Epoch < r.source.Epoch() {
		if err := f.write(ctx, mine); err != nil {
			return err
		}
		r.log.Info("the history topic holds the new era", "epoch", r.source.Epoch())
	}
	return nil
}

// checkEras requires that what the history topic holds is of this database's history.
func (r *run) checkEras(last history.Record) error {
	if d := r.eraRecord().Differs(last); d != "" {
		return ErrOtherDatabase.New("%s", d).At("%s", r.historyTopic())
	}
	if theirs := last.Newest().Epoch; theirs > r.source.Epoch() {
		return router.ErrEpochAhead.New("epoch %d was published under, the database's history is epoch %d", theirs, r.source.Epoch()).At("%s", r.historyTopic())
	}
	return nil
}
