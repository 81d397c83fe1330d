package torture

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// behind is how many committed events the copy does not have.
func (r *runner) behind(ctx context.Context) (int64, error) {
	applied, err := r.applied(ctx)
	if err != nil {
		return 0, err
	}
	committed, err := value[int64](ctx, r.source, `select count(*) from truth.event`)
	return committed - applied, err
}

// applied is how many events the copy that is read has applied.
func (r *runner) applied(ctx context.Context) (int64, error) {
	return value[int64](ctx, r.target, `select coalesce(sum(applied), 0)::bigint from `+projectionName+`.fold`)
}

// copying waits until the copy has applied something more.
func (r *runner) copying(ctx context.Context) error {
	var before int64 = -1
	err := await(ctx, r.o.Patience, func(ctx context.Context) bool {
		n, err := r.applied(ctx)
		if err != nil {
			return false // the server may just be starting
		}
		if before < 0 {
			before = n
		}
		return n > before
	})
	switch {
	case err != nil:
		return fmt.Errorf("the copy stays at %d events (alive %t): %w", before, r.copy.Alive(), err)
	case !r.copy.Alive():
		return fmt.Errorf("%s ended by itself: %w", r.copy.name, r.copy.Err())
	}
	return nil
}

// passing waits until the daemon has taken n more handfuls of acknowledgements.
func (r *runner) passing(ctx context.Context, n int) error {
	rule := fmt.Sprintf("pipeline.acked:%d:note", n)
	err := r.daemon.arm(rule)
	if err == nil {
		_, err = r.daemon.awaitRule(ctx, rule, r.o.Patience)
	}
	if err != nil {
		st := r.daemon.status(ctx)
		return fmt.Errorf("events do not pass (alive %t, state %s %s %s): %w", r.daemon.Alive(), st.State, st.Code, st.Message, err)
	}
	return nil
}

// drain waits until the slot has passed everything and the copy holds it.
func (r *runner) drain(ctx context.Context) error {
	began := time.Now()
	end, err := r.look(ctx)
	if err != nil {
		return err
	}
	committed, err := value[int64](ctx, r.source, `select count(*) from truth.event`)
	if err != nil {
		return err
	}
	var slot view
	var folded int64
	err = await(ctx, 2*r.o.Patience, func(ctx context.Context) bool {
		now, err := r.look(ctx)
		if err != nil {
			return false
		}
		slot = now
		sum, err := r.applied(ctx)
		if err != nil {
			return false
		}
		folded = sum
		return slot.Confirmed >= end.WAL && folded >= committed
	})
	r.history.Run.Drained, r.history.Run.DrainMillis = err == nil, time.Since(began).Milliseconds()
	if err != nil {
		st := r.daemon.status(ctx)
		r.say("not drained: slot at %x of %x, %d of %d events in the copy; daemon %s %s %s", slot.Confirmed, end.WAL, folded, committed, st.State, st.Code, st.Message)
		if st.State == pipeline.Halted {
			r.say("halted: %s", st.Remedy)
		}
	}
	return nil
}

// value reads one value on a connection of its own.
func value[T any](ctx context.Context, address, sql string, args ...any) (v T, err error) {
	db, err := pgx.Connect(ctx, address)
	if err != nil {
		return v, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	err = db.QueryRow(ctx, sql, args...).Scan(&v)
	return v, err
}
