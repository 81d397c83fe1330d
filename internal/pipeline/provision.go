package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// provision creates what is missing, and changes nothing that is there: the
// outbox (if the role may), the namespace with its policies, the topics, and
// the schemas that the catalog has and the registry has not.
func (r *run) provision(ctx context.Context, catalog *schemas.Catalog) error {
	busy, err := r.initOutbox(ctx)
	if err != nil || busy {
		return err // what another daemon works with is not changed under it
	}
	changed, err := r.client.EnsureNamespace(ctx, r.cfg.Namespace, r.policy())
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		r.log.Info("namespace set up", "namespace", r.cfg.Namespace, "changed", changed)
	}
	names, events := plan(catalog, r.routes)
	for _, name := range names {
		full := wire.TopicName(r.cfg.Namespace, name)
		created, err := r.client.EnsureTopic(ctx, full, r.cfg.Partitions, nil)
		if errors.Is(err, broker.ErrPartitionCount) {
			err = nil // it exists with its own count, which is for life; loadTopics looks at it
		}
		if err != nil {
			return err
		}
		if created {
			r.log.Info("topic created", "topic", full, "partitions", r.cfg.Partitions)
		}
		if err := r.register(ctx, name, full, events[name]); err != nil {
			return err
		}
	}
	return nil
}

// initOutbox runs init when the outbox is incomplete. busy says that another
// daemon streams from the slot.
func (r *run) initOutbox(ctx context.Context) (busy bool, err error) {
	db, err := r.connect(ctx)
	if err != nil {
		// capture.Open says what is wrong with the server, and how to mend it.
		r.log.Debug("no outbox set-up", "error", err)
		return false, nil
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	slot, err := capture.ReadSlot(ctx, db, r.cfg.Slot)
	if err != nil || slot.Active {
		return slot.Active, err
	}
	report, err := outbox.Init(ctx, db, outbox.InitOptions{Roles: r.cfg.Roles})
	if err != nil {
		return false, err
	}
	if report.Changed() {
		r.log.Info("outbox set up")
	}
	return false, nil
}

// register brings a topic's schema up to date with the catalog.
func (r *run) register(ctx context.Context, name, full string, events []*schemas.EventType) error {
	versions, err := r.registry.Versions(ctx, full)
	if err != nil {
		return err
	}
	var previous *schemas.TopicSchema
	if len(versions) > 0 {
		previous = versions[len(versions)-1]
	}
	if previous != nil && covers(versions, events, full) == nil {
		return nil
	}
	composed, err := schemas.Compose(name, events, previous)
	if err != nil {
		return err
	}
	version, err := r.registry.Register(ctx, full, composed)
	if err != nil {
		return fmt.Errorf("register the schema of %s: %w", full, err)
	}
	r.log.Info("schema registered", "topic", full, "version", version)
	return nil
}

func (r *run) policy() broker.NamespacePolicy {
	return broker.NamespacePolicy{Retention: broker.Retention{Time: max(0, r.cfg.Retention)}}
}

// checkNamespace refuses a namespace in which publishing would not be exactly
// once. A role that may not read its policies goes on: the one that matters here,
// deduplication, is looked up for each partition that is acquired, and the sizes
// of messages for each topic.
func (r *run) checkNamespace(ctx context.Context) error {
	deviations, err := r.client.CheckNamespace(ctx, r.cfg.Namespace, r.policy())
	if errors.Is(err, broker.ErrForbidden) {
		r.log.Debug("the namespace's policies are not for this role to read", "namespace", r.cfg.Namespace)
		return nil
	}
	if err != nil {
		return err
	}
	i := slices.IndexFunc(deviations, func(d broker.Deviation) bool { return d.Fatal })
	if i < 0 {
		return nil
	}
	d := deviations[i]
	return broker.ErrNamespacePolicy.New("%s is %s and must be %s", d.Policy, d.Have, d.Want).
		At("namespace %s", r.cfg.Namespace).Fix("Run `runnel run --auto-apply`, or: %s", d.Fix)
}
