package consumers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// An instance that gets a quiet partition back finds what the other one parked
// meanwhile, though nothing is delivered again.
func TestParkedMeanwhile(t *testing.T) {
	w := newWorld(t, 1)
	of := broker.Partition{Topic: orders}
	want := make(truth)
	var f failing
	register := func(p *consumers.Projection) {
		f.register(p)
		p.SetSilence(50 * time.Millisecond)
	}
	cfg := w.config(t)
	cfg.Retry = consumers.Retry{Immediate: 1, Delays: []time.Duration{time.Hour}}
	connected := func(r *running) {
		pgtest.Eventually(t, patience, func() bool { return len(r.Status()) == 1 && r.Status()[0].Connected }, "subscribed")
	}
	one := start(t, cfg, register)
	connected(one)
	w.fill(t, 3, want)
	w.appliedAll(t)
	cfg.Database = w.db.Pool(t)
	two := start(t, cfg, register)
	connected(two)
	w.handOver(of, "fulfilment")
	f.set(only(3))
	w.fill(t, 1, want)
	pgtest.Eventually(t, patience, func() bool { return len(w.parked(t)) == 1 && w.ackedOf(of, "fulfilment") == 4 }, "parked and acknowledged")
	if n := two.Status()[0].Parked; n != 1 {
		t.Errorf("the second instance knows of %d", n)
	}
	w.handOver(of, "fulfilment") // from the acknowledgement on
	two.stop(t)
	f.set(nil)
	if n, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); n != 1 || err != nil {
		t.Fatalf("%d: %v", n, err)
	}
	w.unparked(t)
	one.stop(t)
	w.requireCopy(t, want)
}

// A parked event whose schema can't be fetched loses no try, says why, and is
// applied when the registry is back; it can be discarded meanwhile.
func TestParkedWithoutRegistry(t *testing.T) {
	for _, discard := range []bool{false, true} {
		w := newWorld(t, 1)
		want := make(truth)
		w.fill(t, 1, want)
		cfg := w.config(t)
		cfg.Retry = soon
		var f failing
		f.set(only(0))
		r := start(t, cfg, f.register)
		pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() == 1 }, "parked")
		r.stop(t)
		f.set(nil)
		w.change(func() { w.noRegistry = 1 << 30 })
		r = start(t, cfg, f.register) // it knows no schema
		if n, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); n != 1 || err != nil {
			t.Fatalf("%d: %v", n, err)
		}
		conn := w.db.Conn(t)
		pgtest.Eventually(t, patience, func() bool {
			all, err := consumers.Parked(t.Context(), conn, "fulfilment", consumers.ParkedFilter{}, 10)
			return err == nil && len(all) == 1 && all[0].State == "retrying" && all[0].Code == "SCHEMA_UNAVAILABLE"
		}, "it says why: %v", func() string { return fmt.Sprintf("%+v", w.parked(t)) })
		if tries := w.parked(t)[0].Tries; tries != 0 {
			t.Errorf("%d tries", tries)
		}
		if discard {
			if n, err := consumers.DiscardParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); n != 1 || err != nil {
				t.Fatalf("%d: %v", n, err)
			}
			want = make(truth)
		}
		w.change(func() { w.noRegistry = 0 })
		w.unparked(t)
		r.stop(t)
		w.requireCopy(t, want)
	}
}

// Events behind one that was mended are applied up to the next that fails, each
// handler called as often as its tries say, and no more than twice.
func TestNextOfItsKeyFails(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 7*60, want) // seven keys
	cfg := w.config(t)
	cfg.Retry = soon
	var f failing
	f.set(only(3))
	r := start(t, cfg, f.register)
	w.appliedAll(t)
	pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() == 1 }, "parked")
	const next = 3 + 7*40
	f.set(only(next))
	if n, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); n != 1 || err != nil {
		t.Fatalf("%d: %v", n, err)
	}
	pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() == 2 }, "the next is parked")
	if all := w.parked(t); len(all) != 20 || all[0].Message.Ordinal != next+1 || all[0].Tries != f.tried(next) {
		t.Errorf("%d are parked; the handler was called %d times for the first: %+v", len(all), f.tried(next), all[0])
	}
	for n := int64(3 + 7); n < next; n += 7 {
		if f.tried(n) > 2 {
			t.Errorf("the handler was called %d times for %d", f.tried(n), n)
		}
	}
	f.set(nil)
	if n, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); n != 1 || err != nil {
		t.Fatalf("%d: %v", n, err)
	}
	w.unparked(t)
	r.stop(t)
	w.requireCopy(t, want)
}
