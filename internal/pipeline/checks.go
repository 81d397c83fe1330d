package pipeline

import (
	"context"
	"errors"
	"fmt"

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
