package consumers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// effects counts what was handled, and how: by event number.
type effects struct {
	once, catchingUp [5000]atomic.Int64
}

func (s *effects) register(p *consumers.Projection) {
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
		if err := fold(ctx, tx, e); err != nil {
			return err
		}
		if e.CatchingUp {
			s.catchingUp[e.Payload.N].Add(1)
		} else {
			s.once[e.Payload.N].Add(1)
		}
		return nil
	})
}

// requireOnce fails unless every one of n events was handled with CatchingUp
// false once, by whichever copy.
func (s *effects) requireOnce(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		if got := s.once[i].Load(); got != 1 {
			t.Fatalf("event %d was handled %d times with CatchingUp false, want 1", i, got)
		}
	}
}

// next is cfg for the version after it.
func next(cfg consumers.Config) consumers.Config {
	cfg.Version = max(cfg.Version, 1) + 1
	return cfg
}

// isLive waits until a version is the live one.
func (w *world) isLive(t *testing.T, version int) {
	t.Helper()
	conn := w.db.Conn(t)
	var all []consumers.Copy
	pgtest.Eventually(t, patience, func() (is bool) {
		all, _ = consumers.Copies(t.Context(), conn, "fulfilment")
		for _, c := range all {
			is = is || c.Version == version && c.State == "live"
		}
		return is
	}, "version is live: %v", func() string { return fmt.Sprint(version, all) })
}

// A new version is built beside the live one, which goes on, and takes its place
// where both stand at the same positions.
//
// The database makes transactions repeatable read unless they say otherwise.
func TestRebuildUnderTraffic(t *testing.T) {
	w := newWorld(t, 3)
	w.db.Exec(t, "alter database "+w.db.Name()+" set default_transaction_isolation = 'repeatable read'")
	want := make(truth)
	w.fill(t, 1500, want)
	var s effects
	first := start(t, w.config(t), s.register)
	w.appliedAll(t)

	second := start(t, next(w.config(t)), s.register)
	for n := 1500; n < 3000; n += 50 {
		w.fill(t, 50, want)
	}
	requireFault(t, first.wait(t), consumers.ErrVersion, "taken the place of version 1")
	w.isLive(t, 2)
	of := broker.Partition{Topic: orders}
	pgtest.Eventually(t, patience, func() bool { return w.ackedOf(of, "fulfilment") == 0 }, "the old copy's subscription is deleted")
	w.fill(t, 300, want)
	w.appliedAll(t)
	second.stop(t)
	w.requireCopy(t, want)
	s.requireOnce(t, 3300)
	var rows int
	if err := w.db.Conn(t).QueryRow(t.Context(), "select count(*) from fulfilment_old.fold").Scan(&rows); err != nil || rows != len(want) {
		t.Errorf("the old copy has %d aggregates, %v", rows, err)
	}

	// The next one waits for the old copy to be dropped.
	third := next(next(w.config(t)))
	requireFault(t, start(t, third, s.register).wait(t), consumers.ErrOldCopy, "old copy of version 1", "rebuild drop")
	requireFault(t, start(t, w.config(t), s.register).wait(t), consumers.ErrVersion, "holds version 2", "this is version 1")
	if v, err := consumers.DropOldCopy(t.Context(), w.db.Conn(t), "fulfilment"); err != nil || v != 1 {
		t.Fatalf("dropped version %d, %v", v, err)
	}
	r := start(t, third, s.register)
	w.isLive(t, 3)
	r.stop(t)
	w.requireCopy(t, want)
	s.requireOnce(t, 3300)
}

// The old release is gone before the new one comes, which is killed in between and
// starts with another number of instances.
func TestRebuildIsResumed(t *testing.T) {
	w := newWorld(t, 3)
	want := make(truth)
	w.fill(t, 900, want)
	var s effects
	r := start(t, w.config(t), s.register)
	w.appliedAll(t)
	r.stop(t)
	w.fill(t, 300, want)

	cfg := next(w.config(t))
	cfg.BatchSize = 7
	for _, until := range []uint64{1, 150} {
		r := start(t, cfg, s.register)
		pgtest.Eventually(t, patience, func() bool {
			all, err := consumers.Copies(t.Context(), w.db.Conn(t), "fulfilment")
			return err == nil && len(all) == 2 && all[1].Passed > until
		}, "a part is built")
		r.stop(t)
	}
	one, two := start(t, cfg, s.register), start(t, cfg, s.register)
	w.isLive(t, 2)
	w.appliedAll(t)
	one.stop(t)
	two.stop(t)
	w.requireCopy(t, want)
	s.requireOnce(t, 1200)
	for i := range 900 {
		if s.catchingUp[i].Load() == 0 {
			t.Fatalf("event %d was not handled with CatchingUp", i)
		}
	}
}

// What a subscription leaves out, up to beyond the live copy's position, is not
// taken for applied.
func TestRebuildDoesNotSkip(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 100, want)
	var s effects
	r := start(t, w.config(t), s.register)
	w.appliedAll(t)
	r.stop(t)
	w.fill(t, 50, want)
	w.change(func() { w.acked[orders+"-partition-0 fulfilment-v2"] = 120 })
	r = start(t, next(w.config(t)), s.register)
	w.isLive(t, 2)
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
	s.requireOnce(t, 150)
	for i := range 100 {
		if s.catchingUp[i].Load() != 1 {
			t.Fatalf("event %d was handled with CatchingUp %d times, want 1", i, s.catchingUp[i].Load())
		}
	}
}

// Rights on the live copy hold for the new one.
func TestRebuildKeepsGrants(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 10, want)
	r := start(t, w.config(t), handleFold)
	w.appliedAll(t)
	r.stop(t)
	w.db.Exec(t, `grant usage on schema fulfilment to public; grant select, update on fulfilment.fold to public`)
	r = start(t, next(w.config(t)), handleFold)
	w.isLive(t, 2)
	r.stop(t)
	var ok bool
	err := w.db.Conn(t).QueryRow(t.Context(), `select has_schema_privilege('public', 'fulfilment', 'usage')
		and has_table_privilege('public', 'fulfilment.fold', 'select, update')
		and not has_table_privilege('public', 'fulfilment.fold', 'delete')`).Scan(&ok)
	if err != nil || !ok {
		t.Errorf("the new copy's rights are others: %v", err)
	}
}

// A rebuild is the remedy where a topic has lost its beginning, or was made anew.
func TestRebuildFromWhatIsLeft(t *testing.T) {
	of := broker.Partition{Topic: orders}
	lost := make(truth)
	for name, c := range map[string]struct {
		change       func(w *world)
		allowMissing bool
		word         string
	}{
		"trimmed": {func(w *world) {
			w.fill(t, 10, lost)
			w.change(func() { w.logs[of] = w.logs[of][30:] })
		}, true, "expected ordinal 21, found 31"},
		"made anew": {func(w *world) {
			w.change(func() { w.logs[of] = nil })
		}, false, "was made anew"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.fill(t, 20, lost)
			r := start(t, w.config(t), handleFold)
			w.appliedAll(t)
			r.stop(t)
			want := make(truth)
			c.change(w)
			for i := range 20 {
				e := OrderPlaced{N: int64(100 + i), Note: "left"}
				m := w.message(t, of, "left", e)
				if c.allowMissing {
					m.Properties["position"] = strings.Replace(m.Properties["position"], fmt.Sprintf("%016x", i+1), fmt.Sprintf("%016x", i+31), 1)
				}
				m.ID.Ledger = 2
				w.append(of, m)
				want.add("left", e)
			}
			w.change(func() { w.acked[orders+"-partition-0 fulfilment"] = 0 })
			requireFault(t, start(t, w.config(t), handleFold).wait(t), consumers.ErrGap, c.word, "start version 2 with Config.AllowMissing")
			cfg := next(w.config(t))
			if c.allowMissing {
				requireFault(t, start(t, cfg, handleFold).wait(t), consumers.ErrGap, "the topic's beginning is gone")
				w.isLive(t, 1) // which is whole
			}
			cfg.AllowMissing = c.allowMissing
			r = start(t, cfg, impatient)
			w.isLive(t, 2)
			pgtest.Eventually(t, patience, func() bool { return w.saw.applied.Load() == 40 }, "what is left is applied")
			r.stop(t)
			w.requireCopy(t, want)
		})
	}
}

func TestCancelRebuild(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 20, want)
	first := start(t, w.config(t), handleFold)
	w.appliedAll(t)
	var f failing
	f.set(only(7)) // parked: it can't take the live one's place
	cfg := next(w.config(t))
	cfg.Retry = soon
	second := start(t, cfg, f.register)
	pgtest.Eventually(t, patience, func() bool {
		all, err := consumers.Copies(t.Context(), w.db.Conn(t), "fulfilment")
		return err == nil && len(all) == 2 && all[1].State == "building" && all[1].Parked > 0 && all[1].Passed == 20
	}, "built but for what is parked")
	requireFault(t, start(t, next(cfg), handleFold).wait(t), consumers.ErrVersion, "version 2", "is being built", "rebuild cancel")

	if v, err := consumers.CancelRebuild(t.Context(), w.db.Conn(t), "fulfilment"); err != nil || v != 2 {
		t.Fatalf("cancelled version %d, %v", v, err)
	}
	w.fill(t, 5, want)
	requireFault(t, second.wait(t), consumers.ErrTables, "removed")
	w.appliedAll(t)
	first.stop(t)
	w.requireCopy(t, want)
	if v, err := consumers.CancelRebuild(t.Context(), w.db.Conn(t), "fulfilment"); err != nil || v != 0 {
		t.Errorf("cancelled version %d, %v", v, err)
	}
}

// A copy that is built goes without what its topic lacks; one that lives does not,
// and neither does without what the subscription alone leaves out.
func TestAllowMissing(t *testing.T) {
	of := broker.Partition{Topic: orders}
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 20, make(truth))
	cfg := w.config(t)
	cfg.AllowMissing = true
	r := start(t, cfg, handleFold)
	w.appliedAll(t)
	r.stop(t)
	w.change(func() { w.logs[of] = slices.Delete(w.logs[of], 9, 10) })
	for _, m := range w.logs[of] {
		var e OrderPlaced
		if err := consumers.ReadAndDecode(t.Context(), w, m, &e); err != nil {
			t.Error(err)
		}
		want.add(m.Key, e)
	}
	r = start(t, next(cfg), handleFold)
	w.isLive(t, 2)
	w.requireCopy(t, want)

	w.change(func() { w.mute = true })
	w.fill(t, 40, want)
	w.leaveOut(of, "fulfilment-v2", 7)
	w.change(func() { w.mute = false })
	pgtest.Eventually(t, patience, func() bool { return w.positions(t)[0] == 60 }, "all is applied")
	w.requireCopy(t, want)
	w.change(func() { w.mute = true })
	w.fill(t, 3, want)
	w.change(func() { w.logs[of], w.mute = slices.Delete(w.logs[of], 60, 61), false })
	requireFault(t, r.wait(t), consumers.ErrGap, "start version 3")
}
