package torture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// groupDisk are the faults of the servers' disks.
const groupDisk = "disk"

// diskMargin is how much of the machine's disk others may take during a run without the
// bookie noticing.
const diskMargin = 4 << 30

func diskFaults() []fault {
	return []fault{
		{name: "disk.postgres", expect: resumes, group: groupDisk, carryOut: (*runner).postgresDiskFull},
		{name: "disk.pulsar", expect: backPressure, group: groupDisk, carryOut: (*runner).pulsarDiskFull},
	}
}

// postgresDiskFull fills the database's disk: the server panics and cannot recover; the
// daemon waits. Then there is room again, and somebody starts it.
func (r *runner) postgresDiskFull(ctx context.Context, rec *FaultRecord) (err error) {
	began := time.Now()
	if err := r.trigger(ctx, rec, r.stack.PostgresDiskFull); err != nil {
		return err
	}
	down := await(ctx, r.o.Patience, func(context.Context) bool { return !r.stack.PostgresRuns() })
	rec.Note = fmt.Sprintf("down after %s", time.Since(began).Round(time.Millisecond))
	if down == nil {
		down = r.waitsFor(ctx, rec, "PG_UNREACHABLE")
	}
	return errors.Join(down, r.stack.StartPostgres(ctx))
}

// pulsarDiskFull fills the bookie's disk: it stores nothing more. Then there is room.
func (r *runner) pulsarDiskFull(ctx context.Context, rec *FaultRecord) error {
	err := r.trigger(ctx, rec, r.stack.FillPulsarDisk)
	if err == nil {
		err = r.nothingStored(ctx, rec)
	}
	return errors.Join(err, r.stack.FreePulsarDisk())
}

// nothingStored requires that the daemon says so, and confirms nothing.
func (r *runner) nothingStored(ctx context.Context, rec *FaultRecord) error {
	if err := r.waitsFor(ctx, rec, ""); err != nil {
		return err
	}
	before, err := r.look(ctx)
	if err == nil {
		err = hold(ctx, time.Second+r.some(2*time.Second))
	}
	if err != nil {
		return err
	}
	after, err := r.look(ctx)
	if err == nil && after.Confirmed != before.Confirmed {
		err = fmt.Errorf("the disk is full, and the slot went from %x to %x", before.Confirmed, after.Confirmed)
	}
	return err
}

// waitsFor waits until the daemon says that it cannot go on, with a code if one is given,
// and for a while more.
func (r *runner) waitsFor(ctx context.Context, rec *FaultRecord, code string) error {
	var st pipeline.Status
	err := await(ctx, r.o.Patience, func(ctx context.Context) bool {
		st = r.daemon.status(ctx)
		return st.State != pipeline.Streaming && st.Code != "" && (code == "" || st.Code == code)
	})
	if err != nil {
		return fmt.Errorf("state %s %s %s: %w", st.State, st.Code, st.Message, err)
	}
	rec.Note += fmt.Sprintf(" %s %s", st.State, st.Code)
	if st.State == pipeline.Halted {
		return fmt.Errorf("halted with %s: %s", st.Code, st.Message)
	}
	return hold(ctx, time.Second+r.some(4*time.Second))
}
