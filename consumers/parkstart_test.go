package consumers_test

import (
	"testing"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// A person's retry is noticed where nothing is published any more, by an instance
// that found the events parked.
func TestRetryOnAQuietTopic(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 21, want)
	cfg := w.config(t)
	cfg.Retry = soon
	var f failing
	f.set(only(7))
	r := start(t, cfg, f.register)
	pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() == 1 }, "parked")
	w.appliedAll(t)
	r.stop(t)
	f.set(nil)
	r = start(t, cfg, f.register)
	parked := func(n int64) func() bool {
		return func() bool { s := r.Status(); return len(s) == 1 && s[0].Parked == n }
	}
	pgtest.Eventually(t, patience, parked(2), "the status counts what is parked")
	if _, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); err != nil {
		t.Fatal(err)
	}
	w.unparked(t)
	pgtest.Eventually(t, patience, parked(0), "the status says that nothing is parked")
	r.stop(t)
	w.requireCopy(t, want)
}

// Tables of before there was parking are brought up to date.
func TestParkedTablesAreAdded(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 5, want)
	r := start(t, w.config(t), handleFold)
	w.appliedAll(t)
	r.stop(t)
	w.db.Exec(t, "drop table runnel_projections.parked; alter table runnel_projections.position drop column parked")
	w.fill(t, 5, want)
	r = start(t, w.config(t), handleFold)
	w.unparked(t)
	r.stop(t)
	w.requireCopy(t, want)
}
