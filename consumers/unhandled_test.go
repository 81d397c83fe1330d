package consumers_test

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// A copy that has passed events without a handler is not gone on with when there is
// one: not without a word, and the next version has them all.
func TestHandlerAddedLate(t *testing.T) {
	w := newWorld(t, 2)
	want := make(truth)
	w.fill(t, 10, want)
	for i := range 6 {
		w.publish(t, broker.Partition{Topic: orders, Index: i % 2}, "shipped", OrderShipped{N: int64(i)})
	}
	cfg := w.waiting(t)
	var mu sync.Mutex
	var seen []int64
	both := func(p *consumers.Projection) {
		handleFold(p)
		consumers.Handle(p, func(_ context.Context, _ pgx.Tx, e consumers.Event[OrderShipped]) error {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, e.Payload.N)
			return nil
		})
	}
	r := start(t, cfg, handleFold)
	w.appliedAll(t)
	pgtest.Eventually(t, patience, func() bool { return w.saw.unknown.Load() == 6 }, "six are seen")
	r.stop(t)
	if n := pgtest.Value[int](t, w.db, "select count(*) from runnel_projections.unhandled"); n != 1 {
		t.Errorf("%d types are noted", n)
	}
	every := cfg
	every.Topics = []string{"order"}
	requireFault(t, start(t, every, func(p *consumers.Projection) {
		consumers.HandleBatch(p, func(context.Context, pgx.Tx, []consumers.Message) error { return nil })
	}).wait(t), consumers.ErrHandlerLate, "OrderShipped")
	requireFault(t, start(t, cfg, both).wait(t), consumers.ErrHandlerLate, "OrderShipped", "Raise Config.Version to 2", "AllowUnhandled")

	cfg.AllowUnhandled = []string{"OrderShipped"}
	r = start(t, cfg, both)
	w.publish(t, broker.Partition{Topic: orders}, "shipped", OrderShipped{N: 6})
	w.appliedAll(t)
	r.stop(t)
	if len(seen) != 1 || seen[0] != 6 {
		t.Errorf("handled: %v", seen)
	}

	seen, cfg.AllowUnhandled = nil, nil
	r = start(t, next(cfg), func(p *consumers.Projection) { both(p); p.SetSleep(consumers.Sleep) })
	w.isLive(t, 2)
	w.appliedAll(t)
	r.stop(t)
	if len(seen) != 7 {
		t.Errorf("the next version has had %v", seen)
	}
	w.requireCopy(t, want)
}

// A handler for events that are new is no reason to build anything.
func TestHandlerAddedInTime(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 10, want)
	r := start(t, w.config(t), handleFold)
	w.appliedAll(t)
	r.stop(t)
	handled := make(chan int64, 1)
	r = start(t, w.config(t), func(p *consumers.Projection) {
		handleFold(p)
		consumers.Handle(p, func(_ context.Context, _ pgx.Tx, e consumers.Event[OrderShipped]) error {
			handled <- e.Payload.N
			return nil
		})
	})
	w.publish(t, broker.Partition{Topic: orders}, "shipped", OrderShipped{N: 3})
	if n := <-handled; n != 3 {
		t.Errorf("handled %d", n)
	}
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
}

// What is passed over is no event that can be waited for: its id is not kept.
func TestIDsOfUnhandled(t *testing.T) {
	w := newWorld(t, 1)
	r := w.started(t, w.waiting(t), handleFold)
	w.write(t, orders, "a", OrderPlaced{N: 1})
	w.write(t, orders, "a", OrderShipped{N: 2})
	w.write(t, orders, "a", OrderPlaced{N: 3})
	w.appliedAll(t)
	r.stop(t)
	if n := w.kept(t); n != 2 {
		t.Errorf("%d ids are kept, want those of what was handled", n)
	}
}

// A parked event that is tried by a release without a handler for it was passed
// without one.
func TestUnhandledWhenRetried(t *testing.T) {
	w := newWorld(t, 1)
	w.publish(t, broker.Partition{Topic: orders}, "a", OrderShipped{N: 1})
	cfg := w.waiting(t)
	cfg.Retry = soon
	with := func(p *consumers.Projection) {
		handleFold(p)
		consumers.Handle(p, func(context.Context, pgx.Tx, consumers.Event[OrderShipped]) error { return errHandler })
	}
	r := start(t, cfg, with)
	pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() == 1 }, "parked")
	r.stop(t)
	r = start(t, cfg, handleFold)
	if n, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); n != 1 || err != nil {
		t.Fatalf("%d: %v", n, err)
	}
	w.unparked(t)
	r.stop(t)
	if n := w.kept(t); n != 0 {
		t.Errorf("%d ids", n)
	}
	requireFault(t, start(t, cfg, with).wait(t), consumers.ErrHandlerLate, "OrderShipped")
}
