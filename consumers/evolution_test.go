package consumers_test

import (
	"context"
	"maps"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// A handler sees its own type whatever version wrote the event.
func TestSchemaEvolution(t *testing.T) {
	w := newWorld(t, 1)
	w.change(func() { clear(w.versions) })
	of := broker.Partition{Topic: orders}
	w.register(t, orders, placedV1)
	w.publish(t, of, "a", OrderPlacedOld{N: 1, Note: "old"})
	w.register(t, orders, placedV2, shipped)
	w.publish(t, of, "b", OrderPlaced{N: 2, Note: "new", Amount: 9})
	w.noRegistry = 2 // its outage is waited for

	want := make(truth)
	want.add("a", OrderPlaced{1, "old", 7})
	want.add("b", OrderPlaced{2, "new", 9})
	r := start(t, w.config(t), func(p *consumers.Projection) {
		handleFold(p)
		p.SetSleep(w.pauses.sleep)
	})
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)

	// The older type reads both as well.
	var mu sync.Mutex
	got := make(map[string]OrderPlacedOld)
	cfg := w.config(t)
	cfg.Name = "older"
	r = start(t, cfg, func(p *consumers.Projection) {
		consumers.Handle(p, func(_ context.Context, _ pgx.Tx, e consumers.Event[OrderPlacedOld]) error {
			mu.Lock()
			defer mu.Unlock()
			got[e.AggregateID] = e.Payload
			return nil
		})
	})
	pgtest.Eventually(t, patience, func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == 2 }, "both are read")
	r.stop(t)
	if !maps.Equal(got, map[string]OrderPlacedOld{"a": {1, "old"}, "b": {2, "new"}}) {
		t.Errorf("got %v", got)
	}
}
