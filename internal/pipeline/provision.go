package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// provisionLock serialises those who provision, in the source database: the
// registry would let two compose a topic's next schema from the same last one, of
// which the second lacks what the first has added. (1 and 3 are the outbox's.)
const provisionLock = "select pg_catalog.pg_advisory_lock(1381322316, 4)"

// provisionWait is how long one waits for another, which may have been stopped
// amid its work.
const provisionWait = 5 * time.Second

// provision creates what is missing, and changes nothing that is there: the
// outbox (if the role may), the namespace with its policies, the topics, and
// the schemas that the catalog has and the registry has not.
//
// While another daemon streams from the slot it only adds: a topic, or a
// schema's next version, makes no difference to who does not use it. The outbox
// is not upgraded under that daemon, nor is a policy changed, which may be set
// otherwise here (a shorter retention would delete what was published).
func (r *run) provision(ctx context.Context, catalog *schemas.Catalog) error {
	db, err := r.connect(ctx)
	if err != nil {
		// capture.Open says what is wrong with the server, and how to mend it.
		r.log.Debug("no outbox set-up", "error", err)
		return r.provisionTopics(ctx, catalog)
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }() // which gives up the lock
	if mine, err := lockProvision(ctx, db); err != nil || !mine {
		if err == nil {
			r.log.Warn("another process provisions, and has not ended; what is missing is not made", "waited", provisionWait)
		}
		return err
	}
	slot, err := capture.ReadSlot(ctx, db, r.cfg.Slot)
	if err != nil {
		return err
	}
	if slot.Active {
		r.holder = slot.Holder(ctx, db)
		return r.provisionTopics(ctx, catalog)
	}
	report, err := outbox.Init(ctx, db, outbox.InitOptions{Roles: r.cfg.Roles})
	if err != nil {
		return err
	}
	if report.Changed() {
		r.log.Info("outbox set up")
	}
	return r.provisionTopics(ctx, catalog)
}

// lockProvision takes the lock until the session ends; false when another kept it.
func lockProvision(ctx context.Context, db *pgx.Conn) (bool, error) {
	_, err := db.Exec(ctx, fmt.Sprintf("set lock_timeout = %d", provisionWait.Milliseconds()))
	if err == nil {
		_, err = db.Exec(ctx, provisionLock)
	}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && pg.Code == "55P03" {
		return false, nil
	}
	if err == nil {
		_, err = db.Exec(ctx, "reset lock_timeout")
	}
	if err != nil {
		return false, fmt.Errorf("wait for others that provision: %w", err)
	}
	return true, nil
}

// provisionTopics does Pulsar's part of provision.
func (r *run) provisionTopics(ctx context.Context, catalog *schemas.Catalog) error {
	if err := r.provisionNamespace(ctx); err != nil {
		return err
	}
	names, events := plan(catalog, r.routes)
	for _, name := range names {
		full := wire.TopicName(r.cfg.Namespace, name)
		if err := r.provisionTopic(ctx, full); err != nil {
			return err
		}
		if err := r.register(ctx, name, full, events[name]); err != nil {
			return err
		}
	}
	return nil
}

// provisionTopic makes a topic. It looks first: one that stands by comes here every
// second, and each refusal to make what is there is in the broker's log.
func (r *run) provisionTopic(ctx context.Context, full string) error {
	_, err := r.client.Partitions(ctx, full)
	if !errors.Is(err, broker.ErrTopicMissing) {
		return err // nil: it exists with its own count, which is for life; loadTopics looks at it
	}
	created, err := r.client.EnsureTopic(ctx, full, r.cfg.Partitions, nil)
	if errors.Is(err, broker.ErrPartitionCount) {
		err = nil // made by another in between
	}
	if created {
		r.log.Info("topic created", "topic", full, "partitions", r.cfg.Partitions)
	}
	return err
}

// provisionNamespace makes the namespace, and sets the policies of one that
// nobody publishes to.
func (r *run) provisionNamespace(ctx context.Context) error {
	if r.holder != "" {
		deviations, err := r.client.CheckNamespace(ctx, r.cfg.Namespace, r.policy())
		if err != nil || !slices.ContainsFunc(deviations, broker.Deviation.Missing) {
			return err
		}
	}
	changed, err := r.client.EnsureNamespace(ctx, r.cfg.Namespace, r.policy())
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		r.log.Info("namespace set up", "namespace", r.cfg.Namespace, "changed", changed)
	}
	return nil
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
	e := broker.ErrNamespacePolicy.New("%s is %s and must be %s", d.Policy, d.Have, d.Want).At("namespace %s", r.cfg.Namespace)
	if r.holder != "" {
		return e.Fix("Run `%s`: while another daemon streams, %s, policies are not changed by --auto-apply.", d.Fix, r.holder)
	}
	return e.Fix("Run `runnel run --auto-apply`, or: %s", d.Fix)
}
