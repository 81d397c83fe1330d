package consumers_test

import (
	"testing"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// A schema that is not the projection's is neither filled nor renamed over.
func TestRebuildSchemaTaken(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 20, want)
	r := start(t, w.config(t), handleFold)
	w.appliedAll(t)
	r.stop(t)
	second := next(w.config(t))
	for name, c := range map[string]struct{ make, drop string }{
		"fulfilment_next": {"create schema fulfilment_next; create function fulfilment_next.theirs() returns int language sql as 'select 1'", "drop schema fulfilment_next cascade"},
		"fulfilment_old":  {"create schema fulfilment_old", "drop schema fulfilment_old"},
	} {
		w.db.Exec(t, c.make)
		requireFault(t, start(t, second, handleFold).wait(t), consumers.ErrSchemaTaken, name, "Rename or drop")
		w.db.Exec(t, c.drop)
	}

	// Made while the new copy is built: it stops, and goes on when the name is free.
	var f failing
	f.set(only(7)) // keeps it from taking over
	second.Retry = soon
	r = start(t, second, f.register)
	pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() == 1 }, "parked")
	w.db.Exec(t, "create schema fulfilment_old")
	f.set(nil)
	if _, err := consumers.RetryParked(t.Context(), w.db.Conn(t), "fulfilment", consumers.ParkedFilter{}); err != nil {
		t.Fatal(err)
	}
	requireFault(t, r.wait(t), consumers.ErrSchemaTaken, "fulfilment_old")
	w.isLive(t, 1)
	w.db.Exec(t, "drop schema fulfilment_old")
	r = start(t, second, f.register)
	w.isLive(t, 2)
	r.stop(t)
	w.requireCopy(t, want)
}

// An empty schema that was made for the new version, as roles without CREATE on the
// database need it, is taken.
func TestRebuildInPreparedSchema(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 5, want)
	w.db.Exec(t, "create schema fulfilment; create schema fulfilment_next")
	r := start(t, w.config(t), handleFold)
	w.appliedAll(t)
	r.stop(t)
	r = start(t, next(w.config(t)), handleFold)
	w.isLive(t, 2)
	r.stop(t)
	w.requireCopy(t, want)
}

// What was parked in the old copy is nobody's to try again.
func TestParkedInTheOldCopy(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 20, want)
	cfg := w.config(t)
	cfg.Retry = soon
	var f failing
	f.set(only(7))
	r := start(t, cfg, f.register)
	w.appliedAll(t)
	pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() == 1 }, "parked")
	r.stop(t)
	r = start(t, next(w.config(t)), handleFold)
	w.isLive(t, 2)
	r.stop(t)
	w.requireCopy(t, want)
	conn := w.db.Conn(t)
	if all := w.parked(t); len(all) > 0 {
		t.Errorf("listed: %v", all)
	}
	if n, err := consumers.CountParked(t.Context(), conn, "fulfilment", consumers.ParkedFilter{}); n != 0 || err != nil {
		t.Errorf("counted: %d, %v", n, err)
	}
	if n, err := consumers.RetryParked(t.Context(), conn, "fulfilment", consumers.ParkedFilter{}); n != 0 || err != nil {
		t.Errorf("to be tried again: %d, %v", n, err)
	}
	if n, err := consumers.DiscardParked(t.Context(), conn, "fulfilment", consumers.ParkedFilter{}); n != 0 || err != nil {
		t.Errorf("discarded: %d, %v", n, err)
	}
}
