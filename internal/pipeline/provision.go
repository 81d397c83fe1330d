package pipeline

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/evolution"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

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
	if mine, err := evolution.Lock(ctx, db, provisionWait); err != nil || !mine {
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

// provisionTopics does Pulsar's part of provision: what `schemas apply` does, without
// being asked, but for what takes something away. A change that the readers cannot take
// is refused alike.
func (r *run) provisionTopics(ctx context.Context, catalog *schemas.Catalog) error {
	target := evolution.Target{
		Namespace: r.cfg.Namespace, Policy: r.policy(), Partitions: r.cfg.Partitions, History: history.Topic(r.cfg.Name),
		TopicOf: func(aggregateType, eventType string) string { return r.routes.Explain(aggregateType, eventType).Topic },
	}
	if r.cfg.Park {
		target.DeadLetters = deadletter.Topic(r.cfg.Name)
	}
	mode := evolution.Additions
	if r.holder != "" {
		mode = evolution.AdditionsOnly
	}
	file, err := wire.CatalogFile(r.cfg.Schemas)
	if err != nil {
		return err
	}
	settings, err := evolution.SettingsOf(file, catalog)
	if err != nil {
		return err
	}
	var plan *evolution.Plan
	// One that stands by comes here every second: all of the namespace is looked at only
	// where something changes, and then it must be, as an event may have moved.
	for _, scope := range []evolution.Scope{evolution.CatalogTopics, evolution.Everything} {
		state, err := evolution.Observe(ctx, r.client, nil, target, catalog, scope)
		if err != nil {
			return err
		}
		if plan, err = evolution.Make(catalog, state, settings, mode, time.Now()); err != nil {
			return err
		}
		if len(plan.Blocked())+len(plan.Steps) == 0 {
			break
		}
	}
	if blocked := plan.Blocked(); len(blocked) > 0 {
		return evolution.Refused(blocked)
	}
	a := evolution.Applier{Cluster: r.client, Target: target, Done: func(s evolution.Step) {
		about := []any{"step", s.Kind, "object", s.Object, "from", s.From, "to", s.To}
		if s.Policy != "" {
			about = append(about, "policy", s.Policy)
		}
		r.log.Info("applied", about...)
	}}
	err = a.Apply(ctx, plan.Steps)
	if errors.Is(err, evolution.ErrStale) {
		return errors.New(err.Error()) // nothing that a person has to do: the next run plans anew
	}
	return err
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
	return e.Fix("Run `runnel schemas plan`, then `runnel schemas apply`; or: %s", d.Fix)
}
