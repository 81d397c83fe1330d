package torture

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// groupSlot are the faults of the daemon's slot, and its repair.
const groupSlot = "slot"

// The steps of a repair, after which it is killed.
var repairSteps = []string{"capture.repair.begun", "capture.repair.dropped", "capture.repair.made", "capture.repair.compared", "capture.repair.done"}

func slotFaults() []fault {
	return []fault{
		{name: "slot.drop", expect: "halt SLOT_MISSING, repaired", group: groupSlot, carryOut: func(r *runner, ctx context.Context, rec *FaultRecord) error {
			return r.repairsSlot(ctx, rec, "SLOT_MISSING", r.dropSlot, r.someStep())
		}},
		{name: "slot.remake", expect: "halt SLOT_MOVED, repaired", group: groupSlot, carryOut: func(r *runner, ctx context.Context, rec *FaultRecord) error {
			return r.repairsSlot(ctx, rec, "SLOT_MOVED", r.remakeSlot, r.someStep())
		}},
		{name: "slot.kills", expect: "halt SLOT_MISSING, repaired at last", group: groupSlot, carryOut: func(r *runner, ctx context.Context, rec *FaultRecord) error {
			return r.repairsSlot(ctx, rec, "SLOT_MISSING", r.dropSlot, repairSteps)
		}},
	}
}

// someStep draws a step after which the repair is killed once, or none.
func (r *runner) someStep() []string {
	if n := r.rand.IntN(2 * len(repairSteps)); n < len(repairSteps) {
		return repairSteps[n : n+1]
	}
	return nil
}

// repairsSlot harms the slot under load, and repairs it once the daemon says what is
// wrong, killing the repair after each of the steps.
func (r *runner) repairsSlot(ctx context.Context, rec *FaultRecord, code string, harm func(context.Context) error, kills []string) error {
	// A slot is made once the transactions that are under way have ended.
	r.load.unhurt.Store(false)
	defer r.load.unhurt.Store(true)
	repair := RepairRecord{}
	if len(r.history.Run.Repairs) == 0 {
		var err error
		if r.history.Run.ConsistentPoint, err = r.consistentPoint(ctx); err != nil {
			return err
		}
	}
	if err := r.trigger(ctx, rec, func() error { repair.Harmed = now(); return harm(ctx) }); err != nil {
		return err
	}
	defer func() { // also when the fault ended otherwise: what the slot says is not the daemon's
		repair.Made = max(repair.Made, repair.Harmed)
		r.history.Run.Repairs = append(r.history.Run.Repairs, repair)
	}()
	if err := r.awaitState(ctx, rec, pipeline.Halted, code); err != nil {
		return err
	}
	if err := hold(ctx, r.some(2*time.Second)); err != nil {
		return err
	}
	s := r.daemonSettings()
	plan, err := pipeline.PlanRepair(ctx, s.pipeline(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil {
		return err
	}
	if plan.Slot == nil || plan.Fork != nil {
		return fmt.Errorf("the plan is %+v", plan)
	}
	s.Repair = plan.Hash
	for _, step := range kills {
		rec.Then = step + ":1:kill"
		p, err := r.spawn(ctx, roleRepair, s, rec.Then)
		if err != nil {
			return err
		}
		if _, err := p.awaitRule(ctx, rec.Then, r.o.Patience); err != nil {
			return err
		}
		if err := p.gone(ctx, r.o.Patience); err != nil {
			return err
		}
	}
	p, err := r.spawn(ctx, roleRepair, s, "")
	if err != nil {
		return err
	}
	if err := p.gone(ctx, r.o.Patience); err != nil {
		return err
	}
	if p.Err() != nil {
		return fmt.Errorf("the repair: %w", p.Err())
	}
	repair.Made = now()
	if repair.Point, err = r.consistentPoint(ctx); err != nil {
		return err
	}
	rec.Note = fmt.Sprintf("%s, %d events were missing when it was planned, %d kills", rec.Note, plan.Slot.Missing, len(kills))
	return r.snapshotDone(ctx)
}

// dropSlot drops the daemon's slot, whoever streams from it.
func (r *runner) dropSlot(ctx context.Context) error {
	db, err := pgx.Connect(ctx, r.source)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	waited := await(ctx, r.o.Patience, func(ctx context.Context) bool {
		_, _ = db.Exec(ctx, `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active_pid is not null`, slotName)
		_, err = db.Exec(ctx, `select pg_drop_replication_slot($1)`, slotName)
		return err == nil
	})
	if waited != nil {
		return fmt.Errorf("drop the slot: %w", err)
	}
	return nil
}

// remakeSlot drops the slot, and makes it anew at once, as somebody may who wants the
// daemon to run.
func (r *runner) remakeSlot(ctx context.Context) error {
	if err := r.dropSlot(ctx); err != nil {
		return err
	}
	_, err := value[string](ctx, r.source, `select lsn::text from pg_create_logical_replication_slot($1, 'pgoutput')`, slotName)
	return err
}
