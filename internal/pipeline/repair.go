package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// RepairPlan is what it takes for a pipeline to go on after its database's history has
// forked, and events that were published are lost.
type RepairPlan struct {
	Pipeline string `json:"pipeline"`
	Hash     string `json:"hash"` // "" when there is nothing to do
	Timeline int32  `json:"timeline,omitempty"`
	Fork     string `json:"fork_lsn,omitempty"`
	// Lost is how many events the database has lost, Events the first of them.
	Lost       int         `json:"lost"`
	Events     []LostEvent `json:"events"`
	Aggregates int         `json:"aggregates"` // of Events
	// Readers are the subscriptions of the topics that hold them: their copies have what the
	// database has not. nil: the broker does not tell.
	Readers []string `json:"readers"`
}

// repairWait bounds how long a repair waits for a daemon that publishes.
const repairWait = 10 * time.Second

// PlanRepair says what a repair would do. It changes nothing.
func PlanRepair(ctx context.Context, cfg Config) (RepairPlan, error) {
	plan, err := repair(ctx, cfg, func(RepairPlan) error { return errPlanned })
	if errors.Is(err, errPlanned) {
		err = nil
	}
	return plan, err
}

// errPlanned ends a repair before it does anything.
var errPlanned = errors.New("planned")

// Repair carries out the plan with the hash, and no other: the events that it lists stay
// in their topics, and are no part of the database's history any more. The daemon goes on
// by itself, behind them. ErrRepairStale: there is another plan by now.
func Repair(ctx context.Context, cfg Config, hash string) (RepairPlan, error) {
	return repair(ctx, cfg, func(now RepairPlan) error {
		if now.Hash != hash {
			return ErrRepairStale.New("the plan for what is there now is %s, not %.40q", now.Hash, hash)
		}
		return nil
	})
}

func repair(ctx context.Context, cfg Config, accept func(RepairPlan) error) (RepairPlan, error) {
	p, err := New(cfg)
	if err != nil {
		return RepairPlan{}, err
	}
	r := p.newRun()
	defer r.close()
	plan := RepairPlan{Pipeline: r.cfg.Name, Events: []LostEvent{}, Readers: []string{}}
	catalog, err := wire.Catalog(r.cfg.Schemas)
	if err != nil {
		return plan, err
	}
	r.cfg.AutoApply, r.looks = false, true
	if err := r.open(ctx, catalog); err != nil {
		return plan, err
	}
	unsettled := r.source.Unsettled()
	if len(unsettled) == 0 {
		return plan, nil
	}
	limited, cancel := context.WithTimeoutCause(ctx, repairWait, errors.New("waited "+repairWait.String()))
	defer cancel()
	err = r.settle(limited, func(lost Lost) error {
		plan.Timeline, plan.Fork = unsettled[0].Timeline, formatLSN(unsettled[0].Begin)
		plan.Lost, plan.Events = lost.Count, append(plan.Events, lost.Events...)
		sum := sha256.Sum256(fmt.Appendf(nil, "runnel repair 1 %s %d %s %d %x", plan.Pipeline, plan.Timeline, plan.Fork, lost.Count, lost.digest))
		plan.Hash = hex.EncodeToString(sum[:8])
		if err := r.describe(limited, &plan); err != nil {
			return err
		}
		return accept(plan)
	})
	return plan, err
}

// describe adds who is concerned.
func (r *run) describe(ctx context.Context, plan *RepairPlan) error {
	aggregates, topics := make(map[string]bool), make(map[string]bool)
	for _, e := range plan.Events {
		aggregates[e.Topic+" "+e.Key], topics[e.Topic] = true, true
	}
	plan.Aggregates = len(aggregates)
	for topic := range topics {
		all, err := r.client.Subscriptions(ctx, topic)
		if errors.Is(err, broker.ErrForbidden) {
			plan.Readers = nil
			return nil
		}
		if err != nil {
			return err
		}
		for _, s := range all {
			if !slices.Contains(plan.Readers, s.Name) {
				plan.Readers = append(plan.Readers, s.Name)
			}
		}
	}
	slices.Sort(plan.Readers)
	return nil
}
