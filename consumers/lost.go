package consumers

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/position"
)

// Events that the source database has lost after they were published stay in their
// topics: see `runnel slot repair`. The pipeline's history topic says which they are.
//
// Invariants:
//
//  1. Such an event is passed over, unless it was applied before that was known.
//  2. Where a copy has applied some, that is noted in its database, at the latest in the
//     transaction that applies the partition's first event of a later epoch. A copy that
//     is built from then on does without them.

const lostDDL = `
create table runnel_projections.lost (
	projection text    not null,
	version    integer not null,
	topic      text    not null,
	partition  integer not null,
	epoch      bigint  not null,
	applied    boolean not null,
	since      timestamptz not null default now(),
	primary key (projection, version, topic, partition, epoch)
);
comment on table runnel_projections.lost is
	'Partitions that hold events which the source database has lost; applied: this copy has some of them.';`

// lostRow is a row of that table. The first one of an epoch stays.
type lostRow struct {
	epoch   uint32
	applied bool
}

const lostSQL = `insert into runnel_projections.lost (projection, version, topic, partition, epoch, applied)
	values ($1, $2, $3, $4, $5, $6) on conflict do nothing`

func (p *Projection) queueLost(b *pgx.Batch, of broker.Partition, rows []lostRow) {
	for _, r := range rows {
		b.Queue(lostSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index, int64(r.epoch), r.applied)
	}
}

// histories are those of the pipelines that publish to a projection's topics, shared by
// its workers.
type histories struct {
	mu    sync.Mutex
	known map[string]*pipelineHistory // by history topic
}

type pipelineHistory struct {
	position.History
	topics map[string]bool // of the projection, that the pipeline publishes to
}

// producerPrefix begins the names of the producers of a pipeline.
const producerPrefix = "runnel-"

// historyOf returns the history of the database that a message is from, as of its epoch
// or later. It waits while the broker is down; no transaction is open.
func (w *worker) historyOf(ctx context.Context, in *broker.Incoming, epoch uint32) (position.History, error) {
	if in.Producer == w.historyFrom && epoch <= w.historyTo {
		return w.history, nil
	}
	pipeline, ours := strings.CutPrefix(in.Producer, producerPrefix)
	if !ours {
		return nil, nil
	}
	wait := outage{what: "reading a pipeline's history", log: w.log, sleep: w.p.sleep}
	for {
		h, err := w.p.histories.get(ctx, w, pipeline, epoch)
		if err == nil {
			wait.over()
			w.history, w.historyFrom, w.historyTo = h, in.Producer, max(epoch, h.Newest())
			return h, nil
		}
		if errors.Is(err, broker.ErrForbidden) || errors.Is(err, broker.ErrForeignMessage) {
			return nil, err
		}
		w.status.troubled(err, 0)
		if err := wait.wait(ctx, err); err != nil {
			return nil, err
		}
	}
}

// get returns what is known of a pipeline's history, and reads it where an epoch is not.
// What was applied of what a newer history has lost is noted then, also of partitions
// that are quiet.
func (h *histories) get(ctx context.Context, w *worker, pipeline string, epoch uint32) (position.History, error) {
	namespace := w.partition.Topic[:strings.LastIndexByte(w.partition.Topic, '/')+1]
	topic := namespace + history.Topic(pipeline)
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.known[topic]
	if of == nil {
		of = &pipelineHistory{topics: make(map[string]bool)}
		if h.known == nil {
			h.known = make(map[string]*pipelineHistory)
		}
		h.known[topic] = of
	}
	seen := of.topics[w.partition.Topic]
	of.topics[w.partition.Topic] = true
	if seen && epoch <= of.Newest() {
		return of.History, nil
	}
	read, err := readHistory(ctx, w.client, topic, producerPrefix+pipeline)
	if err != nil {
		return nil, err
	}
	if read.Newest() > of.Newest() || !seen {
		if err := w.p.noteLost(ctx, w.partition.Topic, read); err != nil {
			return nil, err
		}
	}
	of.History = read
	return read, nil
}

// readHistory reads the last record of a history topic; nil when there is none. producer is
// the pipeline's.
func readHistory(ctx context.Context, client broker.Client, topic, producer string) (position.History, error) {
	// Asked first: a namespace that makes topics by itself would make this one.
	n, err := client.Partitions(ctx, topic)
	if errors.Is(err, broker.ErrTopicMissing) || err == nil && n == 0 {
		return nil, nil // a pipeline of an older release
	}
	if err != nil {
		return nil, err
	}
	reader, err := client.Read(ctx, broker.Partition{Topic: topic}, broker.Start{})
	if err != nil {
		return nil, err
	}
	last, err := history.Last(ctx, reader, producer) // of a record for each failover there ever was
	if err != nil || last == nil {
		return nil, err
	}
	return last.History()
}

// noteLost notes the partitions of a topic of which this copy has applied, last of all,
// what a history does not hold.
func (p *Projection) noteLost(ctx context.Context, topic string, h position.History) error {
	if len(h) < 2 { // nothing has forked yet
		return nil
	}
	all, err := Positions(ctx, p.db, p.cfg.Name)
	if err != nil {
		return err
	}
	for _, at := range all {
		if at.Version != p.cfg.Version || at.Topic != topic || at.Ordinal == 0 || h.Holds(at.Position) {
			continue
		}
		if _, err := p.db.Exec(ctx, lostSQL, p.cfg.Name, p.cfg.Version, topic, at.Partition, int64(at.Position.Epoch), true); err != nil {
			return err
		}
	}
	return nil
}

// lostRows returns what is to be noted when an event is passed that comes after last.
func (w *worker) lostRows(e *entry, last position.Stamp) (rows []lostRow) {
	if last.Ordinal > 0 && !e.history.Holds(last.Position) && !w.lostNoted[last.Epoch] {
		rows = append(rows, lostRow{last.Epoch, true})
	}
	if e.lost && !w.lostNoted[e.stamp.Epoch] {
		rows = append(rows, lostRow{e.stamp.Epoch, false})
	}
	return rows
}

// notedLost remembers rows that are in the database.
func (w *worker) notedLost(rows []lostRow) {
	for _, r := range rows {
		if w.lostNoted == nil {
			w.lostNoted = make(map[uint32]bool)
		}
		if w.lostNoted[r.epoch] {
			continue
		}
		w.lostNoted[r.epoch] = true
		if r.applied {
			w.log.Error("the copy holds events that the source database has lost: rebuild it", keyCode, ErrDiverged.ID, "epoch", r.epoch, keyRemedy, ErrDiverged.Remedy)
		} else {
			w.log.Warn("events that the source database has lost are passed over", "epoch", r.epoch)
		}
	}
}

// forgetLost removes what is noted of versions that are not there (any more).
func (p *Projection) forgetLost(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `delete from runnel_projections.lost where projection = $1
		and version not in (select version from runnel_projections.projection where name = $1)`, p.cfg.Name)
	return err
}
