package pipeline

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
)

// planSlot adds to the plan what becomes of the slot, with what is missing now.
func (r *run) planSlot(ctx context.Context, plan *RepairPlan) error {
	retained, err := r.source.Retained(ctx)
	if err != nil {
		return err
	}
	damage := fault.Find(r.source.Damage())
	plan.Slot = &SlotPlan{Name: r.source.Slot(), Code: damage.Code.ID, Message: damage.Message, Events: []MissingEvent{}, Uncovered: append([]capture.Interval{}, retained.Uncovered...)}
	if !retained.Complete.IsZero() {
		plan.Slot.Complete = &retained.Complete
	}
	return nil
}

// compareSlot adds to the plan what is missing now.
func (r *run) compareSlot(ctx context.Context, plan *SlotPlan) error {
	c, err := r.source.Compare(ctx)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	return r.missing(ctx, c, plan)
}

// remakeSlot makes the slot anew, with what is missing by then as the rows from before it.
func (r *run) remakeSlot(ctx context.Context, plan *SlotPlan, settled tails) error {
	c, err := r.source.Remake(ctx)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	if err := r.missing(ctx, c, plan); err != nil {
		return err
	}
	// What a former daemon had sent may have been stored late, behind what was read.
	again, err := r.settleTails(ctx)
	if err != nil {
		return err
	}
	if !maps.Equal(settled, again) {
		return errStillStored
	}
	return c.Commit(ctx)
}

// missing strikes off what the topics hold, and notes what is left.
func (r *run) missing(ctx context.Context, c *capture.Repair, plan *SlotPlan) error {
	floor, err := c.Floor()
	if err != nil {
		return err
	}
	if err := r.strikeSince(ctx, c, floor); err != nil {
		return err
	}
	early, err := c.EarlyLeft(ctx)
	if err != nil {
		return err
	}
	if early && !floor.IsZero() {
		if err := r.strikeSince(ctx, c, position.Position{}); err != nil {
			return err
		}
	}
	span, err := c.Missing(ctx, maxMissing)
	if err != nil {
		return err
	}
	plan.Missing, plan.Events, plan.Oldest, plan.Newest = span.Count, []MissingEvent{}, nil, nil
	if span.Count > 0 {
		plan.Oldest, plan.Newest = &span.Oldest, &span.Newest
	}
	for _, m := range span.First {
		plan.Events = append(plan.Events, MissingEvent{ID: formatID(m.ID), Type: m.EventType, AggregateType: m.AggregateType, Key: m.AggregateID})
	}
	return nil
}

// strikeAtOnce is how many ids are struck off in one go.
const strikeAtOnce = 1000

// strikeSince strikes off what the partitions hold at or above a position.
func (r *run) strikeSince(ctx context.Context, c *capture.Repair, from position.Position) error {
	h := eras(r.source.Eras())
	var mu sync.Mutex
	strike := func(ctx context.Context, ids [][16]byte) error {
		mu.Lock()
		defer mu.Unlock()
		return c.Strike(ctx, ids)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(acquireAtOnce)
	for _, p := range r.everyPartition() {
		group.Go(func() error {
			var ids [][16]byte
			err := r.readIDs(ctx, p, from, h, func(id [16]byte) error {
				if ids = append(ids, id); len(ids) < strikeAtOnce {
					return nil
				}
				err := strike(ctx, ids)
				ids = ids[:0]
				return err
			})
			if err != nil || len(ids) == 0 {
				return err
			}
			return strike(ctx, ids)
		})
	}
	return group.Wait()
}

// readIDs tells found of the id of each event that a partition holds at or above a
// position, as far as it is part of the history.
func (r *run) readIDs(ctx context.Context, p broker.Partition, from position.Position, h position.History, found func([16]byte) error) error {
	letters, isLetters := parkedIDs{}, r.isDeadLetters(p)
	err := r.eachOwn(ctx, p, from, func(stamp position.Stamp, m *broker.Incoming) (err error) {
		var id uuid.UUID
		switch {
		case !h.Holds(stamp.Position):
			return nil
		case isLetters:
			err = letters.add(stamp.Position, m)
		default:
			id, err = uuid.Parse(m.Properties[router.PropertyID])
		}
		switch {
		case err != nil:
			return broker.ErrForeignMessage.Wrap(err, "sent by producer %q", m.Producer).At("%s", m.Name())
		case isLetters:
			return nil
		}
		return found(id)
	})
	if errors.Is(err, broker.ErrTopicMissing) {
		return nil // what was deleted holds nothing
	}
	if err != nil {
		return err
	}
	return letters.each(found)
}
