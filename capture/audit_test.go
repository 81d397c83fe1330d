package capture

import (
	"context"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
)

func result(t *testing.T, r *running) Audit {
	t.Helper()
	select {
	case a, ok := <-r.Audited():
		if !ok {
			t.Fatalf("no result: %v", r.err)
		}
		return a
	case <-time.After(patience):
		t.Fatal("no result of the audit")
	}
	panic("unreachable")
}

// bootstrapped leaves the fixture with n confirmed rows and an idle slot.
func bootstrapped(t *testing.T, f *fixture, n int) {
	t.Helper()
	f.insert(t, 1, n, "bootstrap")
	s := f.open(t)
	r := follow(t, s)
	if a := result(t, r); a.Rows != 0 || len(a.Missing) != 0 {
		t.Fatalf("the bootstrap's own rows were followed: %+v", a)
	}
	r.await(n)
	pgtest.Eventually(t, patience, func() bool {
		return pgtest.Value[bool](t, f.DB, "select snapshot_done from runnel.pipeline")
	})
	pgtest.Eventually(t, patience, func() bool { return f.confirmedFlush(t) > s.rec.consistentPoint })
	r.mustStop()
}

// TestAudit: everything shows up; nothing is missing.
func TestAudit(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 3)
	f.insert(t, 4, 8, "a")
	r := follow(t, f.open(t))
	a := result(t, r)
	if a.Rows != 5 || len(a.Missing) != 0 || a.Truncated || a.Through == 0 {
		t.Fatalf("got %+v", a)
	}
	r.await(5)
	r.mustStop()
	if _, ok := <-r.Audited(); ok {
		t.Fatal("a second result")
	}
}

// noLimit forgets how far the slot may have come, as where an older version wrote the
// record: all that finds a moved slot then is the audit.
func (f *fixture) noLimit(t *testing.T) {
	t.Helper()
	f.Exec(t, "update runnel.pipeline set slot_limit = null")
}

// TestAuditOfJump: a slot that was moved forward by hand loses rows in
// silence. They are reported.
func TestAuditOfJump(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 3)
	f.insert(t, 4, 5, "lost")
	f.Exec(t, "select pg_replication_slot_advance($1, pg_current_wal_lsn())", f.config.Slot)
	f.noLimit(t)
	f.insert(t, 6, 7, "seen")
	r := follow(t, f.open(t))
	a := result(t, r)
	if a.Rows != 4 || len(a.Missing) != 2 {
		t.Fatalf("got %+v", a)
	}
	for i, m := range a.Missing {
		if m.AggregateID != "lost" || m.AggregateType != "order" || m.EventType != "OrderPlaced" || m.ID != f.ids(t, "seq")[3+i] {
			t.Fatalf("got %+v", m)
		}
	}
	r.mustStop()
}

// TestAuditOfRemade: the slot was dropped and made again by hand.
func TestAuditOfRemade(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 1)
	f.insert(t, 2, 2, "lost")
	f.Exec(t, "select pg_drop_replication_slot($1)", f.config.Slot)
	f.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", f.config.Slot)
	f.noLimit(t)
	r := follow(t, f.open(t))
	if a := result(t, r); len(a.Missing) != 1 || a.Missing[0].AggregateID != "lost" {
		t.Fatalf("got %+v", a)
	}
	r.mustStop()
}

// TestAuditLimit follows the oldest only.
func TestAuditLimit(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 1)
	f.insert(t, 2, 6, "a")
	f.config.AuditLimit = 2
	r := follow(t, f.open(t))
	if a := result(t, r); a.Rows != 2 || !a.Truncated || len(a.Missing) != 0 {
		t.Fatalf("got %+v", a)
	}
	r.mustStop()
	f.config.AuditLimit = -1
	r = follow(t, f.open(t))
	if a := result(t, r); a.Rows != 0 || a.Through != 0 {
		t.Fatalf("got %+v", a)
	}
	r.mustStop()
}

// TestProgress: what is saved is confirmed, the audit starts from it, and an
// idle pipeline saves nothing.
func TestProgress(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 2)
	p, err := NewProgress(t.Context(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if s, err := p.Load(t.Context()); err != nil || s.Snapshot != "" || len(s.Tails) != 0 {
		t.Fatalf("got %+v, %v", s, err)
	}
	r := follow(t, f.open(t))
	tails := make(chan []PartitionTail, 1)
	latest := []PartitionTail(nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Run(ctx, r.Confirmed, func() []PartitionTail {
			select {
			case latest = <-tails:
			default:
			}
			return latest
		})
	}()
	f.insert(t, 3, 5, "a")
	rows := r.await(3)
	want := PartitionTail{Topic: "persistent://public/runnel/order", Partition: 2, Last: position.Stamp{Position: rows[2].at, Ordinal: 5}}
	tails <- []PartitionTail{want}
	pgtest.Eventually(t, patience, func() bool {
		return pgtest.Value[bool](t, f.DB, `select exists (select from runnel.progress g where pipeline = 'p'
			and not exists (select from runnel.outbox o where not pg_visible_in_snapshot(o.xid, g.snapshot)))`)
	})
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	saved, err := p.Load(t.Context())
	want.ResumedSeq = -1
	if err != nil || len(saved.Tails) != 1 || saved.Tails[0] != want {
		t.Fatalf("got %+v, %v", saved, err)
	}
	if saved.ConfirmedLSN > r.Confirmed() || saved.ConfirmedLSN <= rows[2].at.LSN {
		t.Fatalf("saved %x, confirmed %x, last row %s", saved.ConfirmedLSN, r.Confirmed(), rows[2].at)
	}
	r.mustStop()

	// Never back.
	p.sample = sample{since: "0/0", snapshot: emptySnapshot, lsn: 1}
	older := want
	older.Last.LSN--
	if err := p.save(t.Context(), []PartitionTail{older}); err != nil {
		t.Fatal(err)
	}
	if again, err := p.Load(t.Context()); err != nil || again.ConfirmedLSN != saved.ConfirmedLSN || again.Tails[0] != want {
		t.Fatalf("went back to %+v, %v", again, err)
	}

	// The audit follows what is not visible in the saved snapshot.
	f.insert(t, 6, 6, "a")
	r = follow(t, f.open(t))
	if a := result(t, r); a.Rows != 1 || len(a.Missing) != 0 {
		t.Fatalf("got %+v", a)
	}
	r.mustStop()
}

// TestProgressIdle: saving writes WAL, so nothing new means nothing saved.
func TestProgressIdle(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 1)
	p, err := NewProgress(t.Context(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	all := func() uint64 { return 1 << 62 }
	tails := []PartitionTail{{Topic: "t", Last: position.Stamp{Position: position.Position{Epoch: 1, LSN: 1}, Ordinal: 1}}}
	xmin := func() string { return pgtest.Value[string](t, f.DB, "select xmin::text from runnel.progress") }
	for range 2 { // sample, then save
		if err := p.step(t.Context(), all, func() []PartitionTail { return tails }); err != nil {
			t.Fatal(err)
		}
	}
	first := xmin()
	for range 3 {
		if err := p.step(t.Context(), all, func() []PartitionTail { return tails }); err != nil {
			t.Fatal(err)
		}
	}
	if xmin() != first {
		t.Fatal("saved again without news")
	}
	tails[0].Last.Ordinal++
	if err := p.step(t.Context(), func() uint64 { return 1 }, nil); err != nil || xmin() != first {
		t.Fatalf("saved what is not confirmed (%v)", err)
	}
	if err := p.step(t.Context(), all, func() []PartitionTail { return tails }); err != nil || xmin() == first {
		t.Fatalf("did not save (%v)", err)
	}
}

// TestStrikeOff: rows strike themselves off, and only the stream's passing of
// the position ends the audit.
func TestStrikeOff(t *testing.T) {
	out := make(chan Audit, 1)
	a := &audit{through: 150, rows: []Missing{{ID: [16]byte{1}}, {ID: [16]byte{2}}},
		pending: map[[16]byte]struct{}{{1}: {}, {2}: {}}}
	d := primed(t)
	d.audit = a.report(out)
	var b batcher
	feed := func(ms ...[]byte) {
		t.Helper()
		for _, m := range ms {
			if err := d.decode(m, &b); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed(beginMessage(100), insertMessage(1, rowCells(&router.Event{ID: [16]byte{2}})), commitMessage(100, 160))
	if d.audit == nil || len(out) != 0 {
		t.Fatal("ended before the stream was there: the end of a commit is not its LSN")
	}
	d.walEnd(150, &b)
	if got := <-out; d.audit != nil || got.Rows != 2 || len(got.Missing) != 1 || got.Missing[0].ID != [16]byte{1} {
		t.Fatalf("got %+v", got)
	}
	feed(beginMessage(200), commitMessage(200, 210)) // costs nothing any more
}
