package pipeline

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/walwatch"
)

// What is not known is not told as nothing: what is left from an earlier run, or was written
// while none was there, is known once this one has come to it, and asked for before.
func TestBacklog(t *testing.T) {
	var b backlog
	expect := func(what string, want time.Duration, known bool) {
		t.Helper()
		seconds, ok := b.age()
		if ok != known || known && (seconds < want.Seconds() || seconds > want.Seconds()+30) {
			t.Errorf("%s: %v, known: %v; want %v, %v", what, seconds, ok, want, known)
		}
	}
	hourAgo := time.Now().Add(-time.Hour).UnixMicro()
	expect("before anything is asked", 0, false)
	b.answered(time.Now().Add(-time.Minute), time.Now())
	expect("halted at once", time.Minute, true)
	b.silent()
	expect("the database is away", 0, false)
	b.begin()
	b.read(0, 100, 150)
	expect("some is confirmed, the end is not known", 0, false)
	b.measured(200, time.Now())
	b.measured(300, time.Now())
	b.read(0, 100, 199)
	expect("not up to the end", 0, false)
	b.answered(time.Now().Add(-time.Minute), time.Now())
	expect("not up to the end, and asked for", time.Minute, true)
	b.read(hourAgo, 100, 199)
	expect("a transaction", time.Hour, true)
	b.read(0, 100, 200)
	expect("up to the end", 0, true)
	if age := time.Since(b.clear); age < 0 || age > time.Minute {
		t.Errorf("all was confirmed %s ago, by what was measured just now", age)
	}
	b.clear = time.Now().Add(-2 * time.Minute) // some time goes by
	b.begin()
	b.silent()
	expect("the database went away when all up to then was confirmed", 2*time.Minute, true)
	b.answered(time.Time{}, time.Now())
	expect("it is back, and nothing waits", 0, true)
	b.read(hourAgo, 100, 400)
	b.begin()
	b.read(0, 400, 400)
	expect("of the run before", time.Hour, true)
	b.answered(time.Now().Add(-2*time.Hour), time.Now())
	expect("of the run before, which is more exact", time.Hour, true)
	b.answered(time.Now().Add(-time.Minute), time.Now())
	expect("of the run before, which another daemon has published", time.Minute, true)
}

// Numbers that there are none of are absent: before the server is asked, and without a slot.
func TestLagUnknown(t *testing.T) {
	r := newReporter(Config{Name: "shop"})
	names := []string{"runnel_oldest_unpublished_seconds", "runnel_wal_lag_bytes", "runnel_slot_retained_wal_bytes", "runnel_slot_held_wal_bytes", "runnel_slot_inactive_seconds"}
	shown := func() (all []string) {
		families, err := r.metrics.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if slices.Contains(names, f.GetName()) {
				all = append(all, f.GetName())
			}
		}
		return all
	}
	slot := walwatch.State{Limit: -1, Slot: capture.Slot{Name: "s", Exists: true, ConfirmedFlush: 60, RestartLSN: 50, CurrentLSN: 100}}
	for _, c := range []struct {
		what  string
		state *walwatch.State
		lag   *int64
		shown int
	}{
		{"before the server is asked", nil, nil, 0},
		{"with a slot", &slot, new(int64(40)), len(names) - 1},
		{"without", &walwatch.State{Limit: -1}, nil, 0},
		{"with one that confirms nothing", &walwatch.State{Limit: -1, Slot: capture.Slot{Exists: true, CurrentLSN: 100}}, nil, len(names) - 2},
	} {
		if c.state != nil {
			r.retention(*c.state, time.Now(), slog.New(slog.DiscardHandler))
		}
		if st := r.status(); (st.LagBytes == nil) != (c.lag == nil) || c.lag != nil && *st.LagBytes != *c.lag || st.OldestSeconds != nil || len(shown()) != c.shown {
			t.Errorf("%s: %+v, metrics %q", c.what, st, shown())
		}
	}
	r.backlog.read(0, 0, 100)
	if st := r.status(); st.OldestSeconds == nil || *st.OldestSeconds != 0 || !slices.Contains(shown(), names[0]) {
		t.Errorf("up to the end: %+v, metrics %q", st, shown())
	}
}
