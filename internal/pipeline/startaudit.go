package pipeline

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/router"
)

// auditStart looks up the rows that the stream should have shown and did not:
// they were published before the last confirmation, or the slot lost them.
func (r *run) auditStart(ctx context.Context) error {
	l := lookup{run: r, near: r.source.At(r.saved.ConfirmedLSN), first: make(map[broker.Partition]position.Position)}
	audit, err := r.source.Audit(ctx, l.page)
	if errors.Is(err, capture.ErrNotAudited) {
		<-ctx.Done() // the run ends: nothing may be saved over what was not audited
	}
	if ctx.Err() != nil {
		return nil
	}
	if err == nil && audit.Partial {
		r.log.Warn("too much is unpublished for all of it to be looked for in the stream", "rows", audit.Rows, "through", formatLSN(audit.Through))
	}
	return err
}

// lookup looks for rows in the topics, a page of them after another.
type lookup struct {
	*run
	near  position.Position                      // what is saved: most were published behind it
	first map[broker.Partition]position.Position // found of the page before: rows come roughly as they were published
}

// page looks for some rows. They are wherever the routes of their time sent them, so every
// partition that this pipeline knows is looked at: the dead letters, and those to which today's
// routes lead them, first; of these only what it takes to find them is read. Near the saved progress first, then
// everywhere: a transaction may have been invisible to the saved snapshot long after its commit
// record was written.
func (l *lookup) page(ctx context.Context, rows []capture.Missing) error {
	missing := make(map[string]capture.Missing, len(rows))
	for _, m := range rows {
		missing[formatID(m.ID)] = m
	}
	for _, p := range l.everyPartition() { // those elsewhere would be looked for where they are not
		if l.isDeadLetters(p) {
			if err := l.strikePublished(ctx, p, l.near, missing, len(missing)); err != nil {
				return err
			}
		}
	}
	for p, n := range l.likely(missing) {
		from, known := l.first[p]
		if !known {
			from = l.near
		}
		if err := l.strikePublished(ctx, p, from, missing, n); err != nil {
			return err
		}
	}
	for _, from := range []position.Position{l.near, {}} {
		for _, p := range l.everyPartition() {
			if err := l.strikePublished(ctx, p, from, missing, len(missing)); err != nil {
				return err
			}
		}
		if err := l.strikeLost(ctx, missing); err != nil {
			return err
		}
	}
	for _, m := range missing {
		// Recorded, or the next run would publish more of what comes behind them.
		if err := l.source.RecordGap(ctx); err != nil {
			return err
		}
		return gap(m, len(missing))
	}
	return nil
}

// likely counts to which partitions today's routes lead the rows.
func (l *lookup) likely(rows map[string]capture.Missing) map[broker.Partition]int {
	sizes := make(map[string]int)
	for _, p := range l.everyPartition() {
		sizes[p.Topic]++
	}
	counts := make(map[broker.Partition]int)
	for _, m := range rows {
		topic := wire.TopicName(l.cfg.Namespace, l.routes.Explain(m.AggregateType, m.EventType).Topic)
		if n := sizes[topic]; n > 0 && m.AggregateID != "" {
			counts[broker.Partition{Topic: topic, Index: router.PartitionOf([]byte(m.AggregateID), n)}]++
		}
	}
	return counts
}

// strikePublished removes from ids those whose event the partition holds at or above a position,
// until it has found so many.
func (l *lookup) strikePublished(ctx context.Context, p broker.Partition, from position.Position, ids map[string]capture.Missing, atMost int) error {
	if len(ids) == 0 {
		return nil
	}
	if l.isDeadLetters(p) {
		return l.readIDs(ctx, p, from, eras(l.source.Eras()), func(id [16]byte) error {
			delete(ids, formatID(id))
			return nil
		})
	}
	reader, err := l.client.ReadSince(ctx, p, from, l.producerName())
	if errors.Is(err, broker.ErrTopicMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	found := 0
	return broker.ReadRest(ctx, reader, func(m *broker.Incoming) error {
		id := m.Properties[router.PropertyID]
		if _, wanted := ids[id]; !wanted {
			return nil
		}
		delete(ids, id)
		if found++; found == 1 {
			if stamp, err := m.Stamp(); err == nil {
				l.first[p] = stamp.Position
			}
		}
		if found == atMost {
			return broker.SkipRest
		}
		return nil
	})
}

// strikeLost is about partitions that were deleted, or have lost their end. Of one that is to
// go on without, as somebody has said, it removes what belonged there by then: the slot has
// passed it, so it was published (capture.Held; a slot that somebody moved is not streamed from).
// ErrTruncated: of another, nobody has said so yet.
func (r *run) strikeLost(ctx context.Context, missing map[string]capture.Missing) error {
	if len(missing) == 0 {
		return nil
	}
	saved, partitions := make(map[broker.Partition]capture.PartitionTail), make(map[string]int)
	for _, t := range r.saved.Tails {
		saved[broker.Partition{Topic: t.Topic, Index: t.Partition}] = t
		partitions[t.Topic]++
	}
	all, err := r.everyRoutes(ctx)
	if err != nil {
		return err
	}
	n, near := len(missing), r.source.At(r.saved.ConfirmedLSN)
	known := make(map[broker.Partition]ends)
	for id, m := range missing {
		lost, doubt := false, error(nil)
		for i, routes := range all {
			p := broker.Partition{Topic: wire.TopicName(r.cfg.Namespace, routes.Explain(m.AggregateType, m.EventType).Topic)}
			if partitions[p.Topic] == 0 {
				continue
			}
			p.Index = router.PartitionOf([]byte(m.AggregateID), partitions[p.Topic])
			if i > 0 && saved[p].Last.Less(near) { // of former routes, and it got nothing since
				continue
			}
			e, ok := known[p]
			if !ok {
				if e, err = r.readEnds(ctx, p); err != nil {
					return err
				}
				known[p] = e
			}
			var unsaid error
			if lost, unsaid = r.lostWith(m, p, e, saved[p]); lost {
				break
			}
			doubt = cmp.Or(doubt, unsaid)
		}
		switch {
		case lost:
			delete(missing, id)
		case doubt != nil:
			return doubt
		}
	}
	if n -= len(missing); n > 0 {
		r.log.Warn("among the events that were looked for, some are gone with their partitions, as was accepted", "events", n)
	}
	return nil
}

// ends are a partition's first and last message, of ordinal 0 when it is empty.
type ends struct{ first, last position.Stamp }

func (r *run) readEnds(ctx context.Context, p broker.Partition) (e ends, err error) {
	err = r.eachOwn(ctx, p, position.Position{}, func(stamp position.Stamp, _ *broker.Incoming) error {
		e.first = stamp
		return broker.SkipRest
	})
	if err == nil {
		err = r.eachOwn(ctx, p, position.Beyond, func(stamp position.Stamp, _ *broker.Incoming) error {
			e.last = stamp
			return nil
		})
	}
	if errors.Is(err, broker.ErrTopicMissing) { // which holds nothing
		return ends{}, nil
	}
	return e, err
}

// lostWith reports whether a row was published to a partition that lacks what was saved of it,
// and is to go on without. ErrTruncated: it lacks that, and nobody has said so.
func (r *run) lostWith(m capture.Missing, p broker.Partition, e ends, saved capture.PartitionTail) (bool, error) {
	short := e.last.Ordinal < saved.Last.Ordinal
	begunAnew := saved.Last.Ordinal > 0 && e.first.Ordinal == saved.Last.Ordinal+1 // since it was acquired by this run
	// Retention explains an empty partition if what it got last is from before the saved progress,
	// which does not show the row, or if the row is old enough.
	before := saved.Last.Less(r.source.At(r.saved.ConfirmedLSN))
	byRetention := r.cfg.Retention > 0 && (before || time.Since(m.InsertedAt) > r.cfg.Retention)
	switch {
	case saved.GoesOn() && saved.ResumedSeq >= 0:
		return (short || begunAnew) && m.Seq <= saved.ResumedSeq, nil
	case short && e.last.Ordinal > 0, (short || begunAnew) && !byRetention:
		return false, truncated(r.cfg.Name, p, e.last, saved.Last)
	}
	return false, nil
}

func formatID(id [16]byte) string { return uuid.UUID(id).String() }

func gap(example capture.Missing, n int) error {
	return capture.ErrGap.New("%d committed events at least are in the outbox, but neither in the slot's stream nor in their topics; one of them is %s of type %s and aggregate %s %s",
		n, formatID(example.ID), example.EventType, example.AggregateType, example.AggregateID)
}
