package pipeline

import (
	"context"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
)

// partitions lists every partition of the topics.
func (r *run) partitions() []broker.Partition {
	var all []broker.Partition
	for _, t := range r.topics {
		for i := range t.partitions {
			all = append(all, broker.Partition{Topic: t.full, Index: i})
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

// checkRoutes keeps a replay from being routed otherwise than the run that
// published it: under changed routes or partition counts it goes on only when
// no partition, old or new, holds an event that is not confirmed. It needs the
// slot, so that nobody publishes meanwhile.
func (r *run) checkRoutes(ctx context.Context) error {
	counts := make(map[string]int, len(r.topics))
	for _, t := range r.topics {
		counts[t.local] = t.partitions
	}
	hash := r.routes.Hash(counts)
	db, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	var stored *string
	if err := db.QueryRow(ctx, `select routes_hash from runnel.pipeline where name = $1`, r.cfg.Name).Scan(&stored); err != nil {
		return fmt.Errorf("read the stored routes: %w", err)
	}
	if stored != nil && *stored == hash {
		return nil
	}
	if stored != nil {
		if err := r.nothingUnconfirmed(ctx); err != nil {
			return err
		}
		r.log.Info("routes changed while everything was confirmed")
	}
	if _, err := db.Exec(ctx, `update runnel.pipeline set routes_hash = $2 where name = $1`, r.cfg.Name, hash); err != nil {
		return fmt.Errorf("store the routes: %w", err)
	}
	return nil
}

// nothingUnconfirmed reads the tail of every partition that this pipeline knows.
func (r *run) nothingUnconfirmed(ctx context.Context) error {
	start := position.Position{Epoch: r.source.Epoch(), LSN: r.source.StartLSN()}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(acquireAtOnce)
	for _, p := range r.everyPartition() {
		g.Go(func() error {
			producer, tail, err := r.client.Acquire(ctx, broker.AcquireRequest{
				Partition: p, Producer: "runnel-" + r.cfg.Name, Replayed: start, Schema: r.schemaOf(p.Topic),
			}, nil)
			if err != nil {
				return err
			}
			producer.Close()
			if !tail.Stamp.Less(start) {
				return ErrRoutesChanged.New("its last event, at %s, is not confirmed", tail.Stamp.Position).At("%s", p)
			}
			return nil
		})
	}
	return g.Wait()
}

// everyPartition lists the partitions of the topics, and those that former
// routes led to.
func (r *run) everyPartition() []broker.Partition {
	all := r.partitions()
	for _, t := range r.saved.Tails {
		if p := (broker.Partition{Topic: t.Topic, Index: t.Partition}); !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}

// schemaOf returns a topic's newest schema, nil for a topic that nothing goes
// to any more.
func (r *run) schemaOf(full string) *broker.Schema {
	for i := range r.topics {
		if r.topics[i].full == full {
			return r.topics[i].newest
		}
	}
	return nil
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
	// that this pipeline knows is looked at.
	from := position.Position{Epoch: r.source.Epoch(), LSN: r.saved.ConfirmedLSN}
	for _, p := range r.everyPartition() {
		if err := r.strikePublished(ctx, p, from, missing); err != nil {
			return err
		}
	}
	for _, m := range missing {
		return gap(m, len(missing))
	}
	return nil
}

// strikePublished removes from ids those whose event the partition holds at or
// above a position.
func (r *run) strikePublished(ctx context.Context, p broker.Partition, from position.Position, ids map[string]capture.Missing) error {
	reader, err := r.client.ReadSince(ctx, p, from)
	if err != nil {
		return err
	}
	defer reader.Close()
	for len(ids) > 0 {
		more, err := reader.HasNext(ctx)
		if err != nil || !more {
			return err
		}
		m, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		delete(ids, m.Properties[router.PropertyID])
	}
	return nil
}

func formatID(id [16]byte) string { return uuid.UUID(id).String() }

func gap(example capture.Missing, n int) error {
	return ErrGap.New("%d committed events are in the outbox, but neither in the slot's stream nor in their topics; one of them is %s of type %s and aggregate %s %s",
		n, formatID(example.ID), example.EventType, example.AggregateType, example.AggregateID)
}
