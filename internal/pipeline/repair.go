package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// RepairPlan is what it takes for a pipeline to go on after its database's history has
// forked and lost events, or after its slot was lost.
type RepairPlan struct {
	Pipeline string `json:"pipeline"`
	Hash     string `json:"hash"` // "" when there is nothing to do
	// Fork is nil when the history goes on from the one that was published.
	Fork *Fork `json:"fork,omitempty"`
	// Slot is nil when the slot can be streamed from.
	Slot *SlotPlan `json:"slot,omitempty"`
}

// Fork is where the database's history left the one that was published.
type Fork struct {
	Timeline int32  `json:"timeline"`
	LSN      string `json:"fork_lsn"`
	// System is the server's system identifier, where it is another server than it was;
	// there is no LSN then.
	System string `json:"system_id,omitempty"`
	// Lost is how many events the database has lost, Events the first of them.
	Lost       int         `json:"lost"`
	Events     []LostEvent `json:"events"`
	Aggregates int         `json:"aggregates"` // of Events
	// Readers are the subscriptions of the topics that hold them: their copies have what the
	// database has not. nil: the broker does not tell.
	Readers []string `json:"readers"`
}

// SlotPlan is what becomes of the slot: it is made anew, and what is missing in the
// topics comes first in it.
type SlotPlan struct {
	Name    string `json:"name"`
	Code    string `json:"code"` // of the fault that it is in
	Message string `json:"message"`
	// Missing is how many rows of the outbox are not known as published and are in no
	// topic, as of now; Events the first of them.
	Missing int64          `json:"missing"`
	Events  []MissingEvent `json:"events"`
	// Oldest and Newest are when the transactions of the missing rows began.
	Oldest *time.Time `json:"oldest,omitempty"`
	Newest *time.Time `json:"newest,omitempty"`
	// Complete is up to when everything is known as published; nil: nothing is, so that
	// all rows were compared.
	Complete *time.Time `json:"complete,omitempty"`
	// Uncovered are the times of which the outbox keeps no rows any more.
	Uncovered []capture.Interval `json:"uncovered"`
}

// MissingEvent is an event that is in the outbox, and in no topic.
type MissingEvent struct {
	ID            string `json:"id"`
	Type          string `json:"type"`
	AggregateType string `json:"aggregate_type"`
	Key           string `json:"key"` // the aggregate's id
}

const (
	// repairWait bounds how long a repair waits for a daemon that publishes.
	repairWait = 10 * time.Second
	// maxMissing bounds how many missing events a plan lists.
	maxMissing = 1000
)

// errRepairWait is why a wait for a daemon that publishes ended.
var errRepairWait = errors.New("waited " + repairWait.String())

// PlanRepair says what a repair would do. It changes nothing but what is known of where the
// pipeline has published to.
func PlanRepair(ctx context.Context, cfg Config) (RepairPlan, error) { return repair(ctx, cfg, "") }

// Repair carries out the plan with the hash, and no other. What the database has lost
// stays in the topics, and is no part of its history any more. The slot is made anew, and
// the rows that are in no topic by then are what it begins with. The daemon goes on by
// itself. The plan that is returned has what was missing when the slot was made.
//
// It may be cut off at any point, and begun again, as a rule with the same hash: until it
// is done, nothing is published. ErrRepairStale: there is another plan by now.
func Repair(ctx context.Context, cfg Config, hash string) (RepairPlan, error) {
	if hash == "" {
		return RepairPlan{}, ErrRepairStale.New("no plan is named")
	}
	return repair(ctx, cfg, hash)
}

// repairTries is how often a repair begins, if what it has looked at is found to have changed.
const repairTries = 3

// repair plans, and carries the plan out if it is the one with the hash, if any.
func repair(ctx context.Context, cfg Config, hash string) (plan RepairPlan, err error) {
	for range repairTries {
		plan, err = tryRepair(ctx, cfg, hash)
		if !errors.Is(err, errRecounted) && !errors.Is(err, errStillStored) {
			break
		}
	}
	return plan, err
}

func tryRepair(ctx context.Context, cfg Config, hash string) (RepairPlan, error) {
	p, err := New(cfg)
	if err != nil {
		return RepairPlan{}, err
	}
	r := p.newRun()
	defer r.close()
	plan := RepairPlan{Pipeline: r.cfg.Name}
	catalog, err := wire.Catalog(r.cfg.Schemas)
	if err != nil {
		return plan, err
	}
	r.cfg.AutoApply, r.repairs = false, true
	if err := r.open(ctx, catalog); err != nil {
		return plan, err
	}
	if len(r.source.Unsettled()) == 0 && r.source.Damage() == nil {
		return plan, r.upToDate(ctx)
	}
	err = r.alone(ctx, func(ctx context.Context, f *fence) error {
		r.unsettle(f)
		if hash != "" {
			if err := f.claim(ctx); err != nil {
				return err
			}
		}
		return r.repair(ctx, &plan, hash, f)
	})
	return plan, err
}

// upToDate requires that nobody has published for the pipeline under an era that this
// database does not know. Nobody is kept from publishing.
func (r *run) upToDate(ctx context.Context) error {
	last, err := history.ReadLast(ctx, r.client, r.historyTopic(), r.producerName())
	if errors.Is(err, broker.ErrTopicMissing) {
		return nil
	}
	if err != nil || last == nil {
		return err
	}
	return r.checkEras(*last)
}

// alone does something while nobody else can publish for the pipeline.
func (r *run) alone(ctx context.Context, do func(ctx context.Context, f *fence) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, repairWait, errRepairWait)
	defer cancel()
	f, err := r.acquireHistory(limited)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, stop := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-f.Lost():
			stop(ErrLaneLost.Wrap(f.Err(), "the right to publish is gone").At("%s", r.historyTopic()))
		case <-ctx.Done():
		}
	}()
	err = do(ctx, f)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, ErrLaneLost) {
		err = cause
	}
	stop(nil)
	<-watched
	return err
}

// repair completes the plan, and carries it out.
//
// Invariant: from before the topics are read until the new slot is recorded, nobody
// else publishes for the pipeline, and what others had sent has settled. So what is not
// in a topic then is nowhere.
func (r *run) repair(ctx context.Context, plan *RepairPlan, hash string, f *fence) error {
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "runnel repair 2 %s", plan.Pipeline)
	var c comparison
	var settled tails
	if unsettled := r.source.Unsettled(); len(unsettled) > 0 {
		var err error
		if c, err = r.compareHistory(ctx, f); err != nil {
			return err
		}
		lost := c.lost
		plan.Fork = &Fork{Timeline: unsettled[0].Timeline, LSN: formatLSN(unsettled[0].Begin), Lost: lost.Count, Events: append([]LostEvent{}, lost.Events...), Readers: []string{}}
		if r.source.Moved() {
			plan.Fork.LSN, plan.Fork.System = "", unsettled[0].SystemID
		}
		if err := r.describe(ctx, plan.Fork); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(sum, " fork %s %d %s %d %x", plan.Fork.System, plan.Fork.Timeline, plan.Fork.LSN, lost.Count, lost.digest)
	}
	if r.source.Damage() != nil {
		var err error
		if settled, err = r.settleTails(ctx); err != nil {
			return err
		}
		if err := r.planSlot(ctx, plan); err != nil {
			return err
		}
		// Neither what is missing nor the fault: the one grows while services write, the
		// other is another one after a repair that was cut off.
		_, _ = fmt.Fprintf(sum, " slot %s", plan.Slot.Name)
		if at := plan.Slot.Complete; at != nil {
			_, _ = fmt.Fprintf(sum, " %s", at.UTC().Format(time.RFC3339Nano))
		}
		for _, u := range plan.Slot.Uncovered {
			_, _ = fmt.Fprintf(sum, " %s %s", u.From.UTC().Format(time.RFC3339Nano), u.To.UTC().Format(time.RFC3339Nano))
		}
	}
	plan.Hash = hex.EncodeToString(sum.Sum(nil)[:8])
	switch {
	case hash == "" && plan.Slot != nil:
		return r.compareSlot(ctx, plan.Slot)
	case hash == "":
		return nil
	case hash != plan.Hash:
		return ErrRepairStale.New("the plan for what is there now is %s, not %.40q", plan.Hash, hash)
	}
	if plan.Fork != nil {
		failpoint.Hit("pipeline.settle") // accepted, and not recorded
		if err := r.source.Settle(ctx, c.greatest, r.toSave(c.tails)); err != nil {
			return err
		}
		if err := r.publishEras(ctx, f); err != nil {
			return err
		}
	}
	if plan.Slot != nil {
		return r.remakeSlot(ctx, plan.Slot, settled)
	}
	return nil
}

// describe adds who is concerned.
func (r *run) describe(ctx context.Context, f *Fork) error {
	aggregates, topics := make(map[string]bool), make(map[string]bool)
	for _, e := range f.Events {
		aggregates[e.Topic+" "+e.Key], topics[e.Topic] = true, true
	}
	f.Aggregates = len(aggregates)
	for topic := range topics {
		all, err := r.client.Subscriptions(ctx, topic)
		if errors.Is(err, broker.ErrForbidden) {
			f.Readers = nil
			return nil
		}
		if err != nil {
			return err
		}
		for _, s := range all {
			if !slices.Contains(f.Readers, s.Name) {
				f.Readers = append(f.Readers, s.Name)
			}
		}
	}
	slices.Sort(f.Readers)
	return nil
}
