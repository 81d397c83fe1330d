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

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

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

// acquireHistory becomes the producer of the pipeline's history topic, and reads its last
// record; nil when there is none.
func (r *run) acquireHistory(ctx context.Context) (broker.Producer, *history.Record, broker.Tail, error) {
	p := r.historyTopic()
	producer, tail, err := r.client.Acquire(ctx, broker.AcquireRequest{Partition: p, Producer: r.producerName(), Foreign: r.foreign},
		func(holder string) { r.report.waiting(p.String(), holder) })
	if err != nil {
		return nil, nil, broker.Tail{}, notApplied(err, p.Topic)
	}
	r.report.acquired(p.String())
	var last *history.Record
	if tail.Stamp.Ordinal > 0 {
		if last, err = r.readHistory(ctx, p, tail.Last); err != nil {
			producer.Close()
			return nil, nil, broker.Tail{}, err
		}
	}
	return producer, last, tail, nil
}

// readHistory reads the record at the end of the history topic.
func (r *run) readHistory(ctx context.Context, p broker.Partition, at broker.MessageID) (*history.Record, error) {
	at.Batch = -1
	reader, err := r.client.Read(ctx, p, broker.Start{FromEntry: &at})
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	m, err := reader.Next(ctx)
	if err != nil {
		return nil, err
	}
	record, err := history.Parse(m.Payload)
	if err != nil {
		return nil, broker.ErrForeignMessage.Wrap(err, "message %s, sent by producer %q", m.ID, m.Producer).At("%s", p)
	}
	return &record, nil
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
	producer, last, tail, err := r.acquireHistory(ctx)
	if err != nil {
		return err
	}
	defer producer.Close()
	lost, greatest, err := r.compareHistory(ctx, last)
	if err != nil {
		return err
	}
	if lost.Count > 0 {
		return lost.fault(unsettled[0])
	}
	failpoint.Hit("pipeline.settle") // nothing was lost, and that is not recorded
	if err := r.source.Settle(ctx, greatest); err != nil {
		return err
	}
	if err := r.publishEras(ctx, producer, last, tail); err != nil {
		return err
	}
	r.log.Info("nothing was lost: going on", "epoch", r.source.Epoch())
	return nil
}

// compareHistory returns what was published and lost, and the greatest epoch that anything
// was published under. last is the last record of the history topic, which must be held.
func (r *run) compareHistory(ctx context.Context, last *history.Record) (lost Lost, greatest uint32, err error) {
	others, err := r.othersNewest(ctx)
	if err != nil {
		return Lost{}, 0, err
	}
	if r.source.Moved() {
		lost, greatest, err = r.lackedEvents(ctx)
	} else {
		lost, greatest, err = r.lostEvents(ctx)
	}
	if err != nil {
		return Lost{}, 0, err
	}
	if last != nil {
		greatest = max(greatest, last.Newest().Epoch)
	}
	return lost, max(greatest, others), nil
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
		reader, err := r.client.ReadSince(ctx, p, position.Position{Epoch: ^uint32(0)})
		if errors.Is(err, broker.ErrTopicMissing) {
			return nil
		}
		if err != nil {
			return err
		}
		defer reader.Close()
		for {
			more, err := reader.HasNext(ctx)
			if err != nil || !more {
				return err
			}
			m, err := reader.Next(ctx)
			if err != nil {
				return err
			}
			record, err := history.Parse(m.Payload)
			if err != nil {
				return broker.ErrForeignMessage.Wrap(err, "message %s, sent by producer %q", m.ID, m.Producer).At("%s", p)
			}
			newest = max(newest, record.Newest().Epoch)
		}
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

// lostEvents looks for what the partitions hold beyond the fork. Each is acquired for it,
// so that nobody adds to it meanwhile. newest is the greatest epoch that was found.
func (r *run) lostEvents(ctx context.Context) (lost Lost, newest uint32, err error) {
	h := eras(r.source.Eras())
	from := r.forkedAt()
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(acquireAtOnce)
	for _, p := range r.everyPartition() {
		group.Go(func() error {
			tail, err := r.exclusiveTail(ctx, p)
			if err != nil {
				return err
			}
			mu.Lock()
			newest = max(newest, tail.Epoch)
			mu.Unlock()
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
	}
	err = group.Wait()
	lost.sort()
	return lost, newest, err
}

// forkedAt is the first position that the database would have lost.
func (r *run) forkedAt() position.Position {
	all, unsettled := r.source.Eras(), r.source.Unsettled()
	if len(unsettled) == len(all) {
		return position.Position{}
	}
	return position.Position{Epoch: all[len(all)-len(unsettled)-1].Epoch, LSN: unsettled[0].Begin}
}

// exclusiveTail returns a partition's last message, as it is with nobody publishing there.
func (r *run) exclusiveTail(ctx context.Context, p broker.Partition) (position.Stamp, error) {
	schema, err := r.schemaOf(ctx, p.Topic)
	if err != nil {
		return position.Stamp{}, err
	}
	everything := position.Position{Epoch: ^uint32(0)} // is below: nothing is read back
	producer, tail, err := r.client.Acquire(ctx, broker.AcquireRequest{
		Partition: p, Producer: r.producerName(), Replayed: everything, Schema: schema, Foreign: r.foreign, Resumed: r.resumed(p),
	}, func(holder string) { r.report.waiting(p.String(), holder) })
	if errors.Is(err, broker.ErrTopicMissing) {
		return position.Stamp{}, nil // what was deleted holds nothing
	}
	if err != nil {
		return position.Stamp{}, err
	}
	producer.Close()
	r.report.acquired(p.String())
	return tail.Stamp, nil
}

// readLost tells found of each event of a partition that the history does not hold.
func (r *run) readLost(ctx context.Context, p broker.Partition, from position.Position, h position.History, found func(LostEvent) error) error {
	reader, err := r.client.ReadSince(ctx, p, from)
	if err != nil {
		return err
	}
	defer reader.Close()
	for {
		more, err := reader.HasNext(ctx)
		if err != nil || !more {
			return err
		}
		m, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		stamp, err := r.stamp(m)
		if err != nil {
			return err
		}
		if stamp.Ordinal > 0 && !stamp.Less(from) && !h.Holds(stamp.Position) {
			err := found(LostEvent{Topic: p.Topic, Partition: p.Index, Position: stamp, ID: m.Properties[router.PropertyID], Type: m.Properties[router.PropertyType], Key: m.Key})
			if err != nil {
				return err
			}
		}
	}
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
	producer, last, tail, err := r.acquireHistory(ctx)
	if err != nil {
		return err
	}
	r.fence = producer
	if err := r.publishEras(ctx, producer, last, tail); err != nil {
		return err
	}
	l.watch(hard, producer, r.historyTopic())
	return nil
}

// publishEras writes the eras of the database into the history topic, if they are not
// there: from then on who has not heard of the newest can't publish.
func (r *run) publishEras(ctx context.Context, producer broker.Producer, last *history.Record, tail broker.Tail) error {
	mine := history.Record{Pipeline: r.cfg.Name}
	for _, e := range r.source.Eras() {
		mine.Eras = append(mine.Eras, history.NewEra(e.Epoch, e.SystemID, e.Timeline, e.Begin, e.Before))
	}
	p := r.historyTopic()
	if last != nil {
		theirs := last.Newest().Epoch
		if d := mine.Differs(*last); d != "" {
			return ErrOtherDatabase.New("%s", d).At("%s", p)
		}
		if theirs > r.source.Epoch() {
			return router.ErrEpochAhead.New("epoch %d was published under, the database's history is epoch %d", theirs, r.source.Epoch()).At("%s", p)
		}
	}
	if last == nil || last.Newest().Epoch < r.source.Epoch() {
		if err := r.writeHistory(ctx, producer, mine, tail.Stamp.Ordinal+1); err != nil {
			return err
		}
		r.log.Info("the history topic holds the new era", "epoch", r.source.Epoch())
	}
	return nil
}

// writeHistory publishes a record and waits until it is stored.
func (r *run) writeHistory(ctx context.Context, producer broker.Producer, record history.Record, ordinal uint64) error {
	payload, err := record.Marshal()
	if err != nil {
		return err
	}
	h, err := record.History()
	if err != nil {
		return err
	}
	newest := h[len(h)-1]
	at := position.Stamp{Position: position.Position{Epoch: newest.Epoch, LSN: newest.Begin}, Ordinal: ordinal}
	stored := make(chan error, 1)
	producer.Send(ctx, &broker.Outgoing{
		Key: r.cfg.Name, Payload: payload,
		Properties: map[string]string{router.PropertyType: history.EventType, position.Property: at.String()},
	}, func(_ broker.MessageID, err error) { stored <- err })
	producer.Flush()
	select {
	case err := <-stored:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
