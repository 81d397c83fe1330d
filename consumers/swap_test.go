package consumers_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// What the live copy still tries would have its effects nowhere once that copy is
// old: the new one waits, until it was applied there, once.
func TestSwapWaitsForWhatIsTried(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 20, want)
	var f failing
	f.set(only(7))
	cfg := w.config(t)
	var mu sync.Mutex
	effects := make(map[uuid.UUID]int)
	cfg.Observer.Applied = func(a consumers.Applied) {
		if !a.Message.CatchingUp {
			mu.Lock()
			defer mu.Unlock()
			effects[a.Message.ID]++
		}
	}
	cfg.Retry = consumers.Retry{Immediate: 1, Delays: []time.Duration{time.Hour}}
	first := start(t, cfg, f.register)
	w.appliedAll(t)
	second := start(t, next(cfg), handleFold)
	conn := w.db.Conn(t)
	pgtest.Eventually(t, patience, func() bool {
		all, err := consumers.Copies(t.Context(), conn, "fulfilment")
		return err == nil && len(all) == 2 && all[1].Passed == 20
	}, "built")
	w.fill(t, 10, want) // of which the new copy reads as far as the live one is
	w.appliedAll(t)
	if all, err := consumers.Copies(t.Context(), conn, "fulfilment"); err != nil || all[0].Version != 1 || all[0].State != "live" {
		t.Errorf("%+v, %v", all, err)
	}
	f.set(nil)
	if n, err := consumers.RetryParked(t.Context(), conn, "fulfilment", consumers.ParkedFilter{}); n != 1 || err != nil {
		t.Fatalf("%d: %v", n, err)
	}
	requireFault(t, first.wait(t), consumers.ErrVersion, "taken the place of version 1")
	w.isLive(t, 2)
	w.appliedAll(t)
	second.stop(t)
	w.requireCopy(t, want)
	if len(effects) != 30 {
		t.Errorf("%d events had their effects", len(effects))
	}
	for id, n := range effects {
		if n != 1 {
			t.Errorf("event %s had its effects %d times", id, n)
		}
	}
}

// What is due for long, where nothing moves, is tried by nobody: the live release is
// gone.
func TestSwapWhereNobodyTries(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 20, want)
	var f failing
	f.set(only(7))
	cfg := w.config(t)
	cfg.Retry = consumers.Retry{Immediate: 1, Delays: []time.Duration{time.Hour}}
	r := start(t, cfg, f.register)
	w.appliedAll(t)
	r.stop(t)
	w.db.Exec(t, `update runnel_projections.parked set next_try = now() - interval '61 seconds' where next_try is not null;
		update runnel_projections.position set updated_at = now() - interval '61 seconds'`)
	r = start(t, next(w.config(t)), handleFold)
	w.isLive(t, 2)
	r.stop(t)
	w.requireCopy(t, want)
}

// A gap that a copy was allowed to have when it was built does not stop it when it
// has become the live one, however it was killed.
func TestGapBehindSwap(t *testing.T) {
	for range 20 { // now and then the swap is faster than the look at the gap
		if gapBehindSwap(t) {
			return
		}
	}
	t.Error("the gap was never looked at before the swap")
}

// gapBehindSwap reports whether the gap was looked at while the copy was built.
func gapBehindSwap(t *testing.T) bool {
	of := broker.Partition{Topic: orders}
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 20, want)
	r := start(t, w.config(t), handleFold)
	w.appliedAll(t)
	r.stop(t)
	w.fill(t, 10, make(truth))
	w.change(func() { w.logs[of] = slices.Delete(w.logs[of], 20, 22) })
	cfg := next(w.config(t))
	cfg.AllowMissing = true
	reached := make(chan struct{})
	r = start(t, cfg, func(p *consumers.Projection) {
		p.SetSilence(50 * time.Millisecond)
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
			if e.Payload.N < 20 {
				return fold(ctx, tx, e)
			}
			close(reached)
			<-ctx.Done()
			return ctx.Err()
		})
	})
	select {
	case <-reached:
	case err := <-r.done:
		r.done <- err
		requireFault(t, err, consumers.ErrGap)
		return false
	}
	w.isLive(t, 2)
	r.stop(t)
	cfg.AllowMissing = false // that was for building it
	r = start(t, cfg, impatient)
	pgtest.Eventually(t, patience, func() bool { return w.positions(t)[0] == 30 }, "it goes on")
	r.stop(t)
	for _, m := range w.logs[of][20:] {
		var e OrderPlaced
		if err := consumers.ReadAndDecode(t.Context(), w, m, &e); err != nil {
			t.Error(err)
		}
		want.add(m.Key, e)
	}
	w.requireCopy(t, want)
	return true
}
