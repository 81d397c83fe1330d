package pipeline

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
)

// checkOutbox refuses an outbox that lacks what this version uses. One that is
// newer is fine: migrations only add, so that `runnel init` may come first and
// daemons be replaced one by one. What such a daemon cannot understand it meets
// as OUTBOX_SHAPE or CONTROL_UNKNOWN, before it publishes past it.
func (r *run) checkOutbox(ctx context.Context) error {
	db, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	have, latest, err := outbox.Versions(ctx, db)
	if err != nil {
		return wire.QueryFault(err, "look for the outbox")
	}
	if have > latest {
		r.newer = fmt.Sprintf("the outbox has version %d, this daemon knows %d", have, latest)
	}
	return CheckOutboxVersion(have, latest)
}

// CheckOutboxVersion refuses an outbox of version have, of which a daemon knows
// the latest.
func CheckOutboxVersion(have, latest int) error {
	switch {
	case have == 0:
		return capture.ErrNoOutbox.New("the database has no schema runnel")
	case have < latest:
		return ErrOutboxVersion.New("the outbox has version %d, this binary needs %d", have, latest).
			Fix("Run `runnel init` with this binary, as the database's administrator; the daemon goes on by itself.")
	}
	return nil
}

// partitions lists every partition of the topics.
func (r *run) partitions() []broker.Partition {
	var all []broker.Partition
	for i := range r.topics { // by index: the loop writes other fields
		for n := range r.topics[i].partitions {
			all = append(all, broker.Partition{Topic: r.topics[i].full, Index: n})
		}
	}
	return all
}

// anythingPublished reports whether a topic holds anything. Capture asks before
// it makes a slot anew that was never recorded.
func (r *run) anythingPublished(ctx context.Context) (bool, error) {
	for _, p := range r.partitions() {
		reader, err := r.client.Read(ctx, p, broker.Start{})
		if err != nil {
			return false, err
		}
		has, err := reader.HasNext(ctx)
		reader.Close()
		if has || err != nil {
			return has, err
		}
	}
	return false, nil
}

// resumed is the ordinal behind which a partition goes on, though it has lost messages.
func (r *run) resumed(p broker.Partition) uint64 {
	for _, t := range r.saved.Tails {
		if t.Topic == p.Topic && t.Partition == p.Index {
			return t.Resumed
		}
	}
	return 0
}

// stamp reads a message's stamp; the zero one of a foreign message that is passed over.
func (r *run) stamp(m *broker.Incoming) (position.Stamp, error) {
	stamp, err := m.Stamp()
	if err == nil && m.Producer != r.producerName() {
		err = errors.New("published by another than " + r.producerName())
	}
	switch {
	case err == nil:
		return stamp, nil
	case r.foreign.Lists(m):
		return position.Stamp{}, nil
	}
	return position.Stamp{}, broker.ErrForeignMessage.Wrap(err, "sent by producer %q", m.Producer).At("%s", m.Name())
}

func (r *run) producerName() string { return producerName(r.cfg.Name) }

func producerName(pipeline string) string { return "runnel-" + pipeline }

// everyPartition lists the partitions of the topics, and those that former
// routes led to.
func (r *run) everyPartition() []broker.Partition {
	all := r.partitions()
	known := make(map[broker.Partition]bool, len(all))
	for _, p := range all {
		known[p] = true
	}
	for _, t := range r.saved.Tails {
		if p := (broker.Partition{Topic: t.Topic, Index: t.Partition}); !known[p] {
			all = append(all, p)
		}
	}
	return all
}

// schemaOf returns a topic's newest schema, also of a topic that nothing goes to
// any more; nil when it has none.
func (r *run) schemaOf(ctx context.Context, full string) (*broker.Schema, error) {
	for i := range r.topics {
		if t := &r.topics[i]; t.full == full {
			err := t.ready(ctx)
			return t.newest, err
		}
	}
	versions, err := r.registry.Versions(ctx, full)
	if err != nil || len(versions) == 0 {
		return nil, err
	}
	return brokerSchema(versions[len(versions)-1]), nil
}

// auditStart looks up the rows that the stream should have shown and did not:
// they were published before the last confirmation, or the slot lost them.
func (r *run) auditStart(ctx context.Context) error {
	var audit capture.Audit
	select {
	case a, ok := <-r.source.Audited():
		if !ok {
			return nil
		}
		audit = a
	case <-ctx.Done():
		return nil
	}
	if len(audit.Missing) == 0 {
		return nil
	}
	missing := make(map[string]capture.Missing, len(audit.Missing))
	for _, m := range audit.Missing {
		missing[formatID(m.ID)] = m
	}
	// They are wherever the routes of their time sent them, so every partition
	// that this pipeline knows is looked at; near the saved progress first, then
	// everywhere: a transaction may have been invisible to the saved snapshot
	// long after its commit record was written.
	near := r.source.At(r.saved.ConfirmedLSN)
	partitions := r.likelyFirst(r.everyPartition(), audit.Missing)
	for _, from := range []position.Position{near, {}} {
		for _, p := range partitions {
			if err := r.strikePublished(ctx, p, from, missing); err != nil {
				return err
			}
		}
		if err := r.strikeLost(ctx, missing); err != nil {
			return err
		}
	}
	for _, m := range missing {
		// Recorded, or the next run would publish more of what comes behind them.
		if err := r.source.RecordGap(ctx); err != nil {
			return err
		}
		return gap(m, len(missing))
	}
	return nil
}

// likelyFirst puts the partitions to which today's routes lead the rows before the others,
// which then need not be looked at, most of the time.
func (r *run) likelyFirst(all []broker.Partition, rows []capture.Missing) []broker.Partition {
	counts := make(map[string]int)
	for _, p := range all {
		counts[p.Topic]++
	}
	likely := make(map[broker.Partition]bool)
	for _, m := range rows {
		topic := wire.TopicName(r.cfg.Namespace, r.routes.Explain(m.AggregateType, m.EventType).Topic)
		if n := counts[topic]; n > 0 && m.AggregateID != "" {
			likely[broker.Partition{Topic: topic, Index: router.PartitionOf([]byte(m.AggregateID), n)}] = true
		}
	}
	slices.SortStableFunc(all, func(a, b broker.Partition) int {
		switch {
		case likely[a] == likely[b]:
			return 0
		case likely[a]:
			return -1
		}
		return 1
	})
	return all
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

// everyRoutes are those of the configuration, and of the generations that are stored.
func (r *run) everyRoutes(ctx context.Context) ([]*router.Routes, error) {
	db, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	stored, _, err := r.storedRoutes(ctx, db)
	if err != nil {
		return nil, err
	}
	routing, err := generations(stored)
	if err != nil {
		return nil, err
	}
	all := []*router.Routes{r.routes}
	for _, g := range routing {
		all = append(all, g.Routes)
	}
	return all, nil
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

// strikePublished removes from ids those whose event the partition holds at or
// above a position.
func (r *run) strikePublished(ctx context.Context, p broker.Partition, from position.Position, ids map[string]capture.Missing) error {
	if len(ids) == 0 {
		return nil
	}
	if r.isDeadLetters(p) {
		return r.readIDs(ctx, p, from, eras(r.source.Eras()), func(id [16]byte) error {
			delete(ids, formatID(id))
			return nil
		})
	}
	reader, err := r.client.ReadSince(ctx, p, from, r.producerName())
	if errors.Is(err, broker.ErrTopicMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	return broker.ReadRest(ctx, reader, func(m *broker.Incoming) error {
		if delete(ids, m.Properties[router.PropertyID]); len(ids) == 0 {
			return broker.SkipRest
		}
		return nil
	})
}

func formatID(id [16]byte) string { return uuid.UUID(id).String() }

func gap(example capture.Missing, n int) error {
	return capture.ErrGap.New("%d committed events are in the outbox, but neither in the slot's stream nor in their topics; one of them is %s of type %s and aggregate %s %s",
		n, formatID(example.ID), example.EventType, example.AggregateType, example.AggregateID)
}
