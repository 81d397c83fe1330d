package consumers

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// ReplayRange selects events; all that is set must hold. What is empty bounds
// nothing, but something must be set: for everything there is the rebuild.
type ReplayRange struct {
	From, To     Position    // of the events, both included
	Since, Until time.Time   // when the broker took them; Until is not included
	IDs          []uuid.UUID // of the events
	Key          string      // the aggregate's id
	Type         string      // event type
}

// Replayed says what a replay did.
type Replayed struct {
	Matched   int // events in the range that the copy has passed and that are not parked
	Applied   int // of these: handled, and durable; none in a dry run
	Discarded int // of these: their handler answered with Discard
}

// Replay gives events that the copy has passed already to the projection's handlers
// once more, with CatchingUp set: to mend a copy whose handler was wrong about some
// of them. Nothing keeps their effects from being doubled but the handler, which
// must be made for it. Positions do not move, parked events are left to the redrive,
// and instances that run go on meanwhile.
//
// A dry run only counts. When a handler fails, Replay ends with its error after what
// was applied before; it is not resumed where it ended, so give From. Partitions
// are read from their beginning, one after the other. Not while Run runs on the
// same Projection.
func (p *Projection) Replay(ctx context.Context, r ReplayRange, dryRun bool) (Replayed, error) {
	var done Replayed
	if r.selectsAll() {
		return done, ErrConfig.New("the range of a replay is empty").
			Fix("Set a field of ReplayRange; to have everything again, start version %d.", p.cfg.Version+1)
	}
	topics, err := p.begin()
	if err != nil {
		return done, err
	}
	defer func() {
		p.end()
		p.forgetStatuses() // Status is about Run
	}()
	client, registry, err := p.cfg.Broker.open(ctx, p.sleep)
	if err != nil {
		return done, err
	}
	defer client.Close()
	if err := p.untilUp(ctx, "looking for the projection in its database", p.findCopy); err != nil {
		return done, err
	}
	codec := newCodec(registry)
	for _, topic := range topics {
		count, err := waitPartitions(ctx, client, topic, p.log, p.sleep)
		if err != nil {
			return done, err
		}
		for i := range count {
			w := p.worker(client, codec, broker.Partition{Topic: topic, Index: i})
			if err := w.replay(ctx, r, dryRun, &done); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

func (r ReplayRange) selectsAll() bool {
	return r.From.IsZero() && r.To.IsZero() && r.Since.IsZero() && r.Until.IsZero() && len(r.IDs) == 0 && r.Key == "" && r.Type == ""
}

func (r ReplayRange) selects(m *Message) bool {
	return !m.Position.Less(r.From) && (r.To.IsZero() || !r.To.Less(m.Position)) &&
		!m.PublishedAt.Before(r.Since) && (r.Until.IsZero() || m.PublishedAt.Before(r.Until)) &&
		(len(r.IDs) == 0 || slices.Contains(r.IDs, m.ID)) &&
		(r.Key == "" || r.Key == m.AggregateID) && (r.Type == "" || r.Type == m.Type)
}

// replay is Replay for one partition.
func (w *worker) replay(ctx context.Context, r ReplayRange, dryRun bool, done *Replayed) error {
	reader, err := w.client.Read(ctx, w.partition, broker.Start{})
	if err != nil {
		return err
	}
	defer reader.Close()
	for over := false; !over; {
		batch, err := w.readBatch(ctx, reader)
		if err != nil || len(batch) == 0 {
			return err
		}
		batch, _ = w.foreign.without(batch)
		var entries []entry
		for i, in := range batch {
			e := entry{id: in.ID}
			if e.Message, e.stamp, err = w.codec.read(in); err != nil {
				return w.foreign.remedy(err, batch[i:])
			}
			if over = !r.To.IsZero() && r.To.Less(e.Position); over {
				break
			}
			if !r.selects(&e.Message) {
				continue
			}
			h, err := w.historyOf(ctx, in, e.stamp.Epoch)
			if err != nil {
				return err
			}
			if !h.Holds(e.Position) {
				continue
			}
			if err := w.complete(ctx, &e); err != nil {
				return err
			}
			if e.handler != nil || w.p.batch != nil {
				e.CatchingUp = true
				entries = append(entries, e)
			}
		}
		more, err := w.replayBatch(ctx, entries, dryRun, done)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// replayBatch gives entries to the handlers, in one transaction if that works; more
// is false behind the copy's position.
func (w *worker) replayBatch(ctx context.Context, entries []entry, dryRun bool, done *Replayed) (more bool, err error) {
	if len(entries) == 0 {
		return true, nil
	}
	more, err = w.replayEntries(ctx, entries, dryRun, done)
	t, ok := errors.AsType[*trouble](err)
	switch {
	case !ok || t.class != failed:
		return more, err
	case len(entries) == 1:
		if _, ok := errors.AsType[*discarded](t.err); ok {
			done.Matched++
			done.Discarded++
			return true, nil
		}
		m := entries[0].Message
		return false, ErrReplay.Wrap(t.err, "event %s", m.ID).At("%s, position %s", w.partition, m.Position)
	}
	for i := range entries {
		if more, err := w.replayBatch(ctx, entries[i:i+1], dryRun, done); err != nil || !more {
			return more, err
		}
	}
	return true, nil
}

// replayEntries does so in one transaction, with those of entries that are not
// beyond the copy's position, which would be applied twice, and not parked.
func (w *worker) replayEntries(ctx context.Context, entries []entry, dryRun bool, done *Replayed) (more bool, err error) {
	var left []entry
	var applied bool
	err = w.settle(ctx, func(ctx context.Context) error {
		return w.locked(ctx, func(tx pgx.Tx, held partitionRow) (bool, error) {
			left, more, applied = nil, true, false
			parked, err := w.parkedAmong(ctx, tx, entries, held.parked)
			if err != nil {
				return false, outageOf(ctx, err)
			}
			for _, e := range entries {
				if held.Position.Less(e.Position) {
					more = false
					break
				}
				if !parked[e.Ordinal] {
					left = append(left, e)
				}
			}
			if applied = len(left) > 0 && !dryRun; !applied {
				return false, nil
			}
			_, err = w.handleAll(ctx, tx, left)
			return err == nil, err
		})
	})
	if err != nil {
		return false, err
	}
	done.Matched += len(left)
	if applied {
		done.Applied += len(left)
	}
	return more, nil
}

// parkedAmong returns the ordinals of entries that are parked.
func (w *worker) parkedAmong(ctx context.Context, tx pgx.Tx, entries []entry, parked int64) (map[uint64]bool, error) {
	if parked == 0 {
		return nil, nil
	}
	ordinals := make([]int64, len(entries))
	for i := range entries {
		ordinals[i] = int64(entries[i].Ordinal)
	}
	rows, _ := tx.Query(ctx, `select ordinal from runnel_projections.parked
		where projection = $1 and version = $2 and topic = $3 and partition = $4 and ordinal = any($5)`,
		w.p.cfg.Name, w.p.cfg.Version, w.partition.Topic, w.partition.Index, ordinals)
	found := make(map[uint64]bool)
	var ordinal int64
	_, err := pgx.ForEachRow(rows, []any{&ordinal}, func() error { found[uint64(ordinal)] = true; return nil })
	return found, err
}
