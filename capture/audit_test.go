package capture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
)

// audited is an Audit with what it was about.
type audited struct {
	Audit
	missing []Missing
}

func result(t *testing.T, r *running) audited {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var a audited
	var err error
	a.Audit, err = r.Audit(ctx, a.collect)
	if err != nil || a.Missing != int64(len(a.missing)) {
		t.Fatalf("%+v, %v", a, err)
	}
	return a
}

func (a *audited) collect(_ context.Context, rows []Missing) error {
	a.missing = append(a.missing, rows...)
	return nil
}

// bootstrapped leaves the fixture with n confirmed rows and an idle slot.
func bootstrapped(t *testing.T, f *fixture, n int) {
	t.Helper()
	f.insert(t, 1, n, "bootstrap")
	s := f.open(t)
	r := follow(t, s)
	if a := result(t, r); a.Rows != 0 || len(a.missing) != 0 {
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
	if a.Rows != 5 || len(a.missing) != 0 || a.Partial || a.Through == 0 {
		t.Fatalf("got %+v", a)
	}
	r.await(5)
	r.mustStop()
	if a, err := r.Audit(t.Context(), nil); !errors.Is(err, ErrNotAudited) {
		t.Fatalf("a second result: %+v, %v", a, err)
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
	if a.Rows != 4 || len(a.missing) != 2 {
		t.Fatalf("got %+v", a)
	}
	for i, m := range a.missing {
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
	if a := result(t, r); len(a.missing) != 1 || a.missing[0].AggregateID != "lost" {
		t.Fatalf("got %+v", a)
	}
	r.mustStop()
}

// TestAuditGivesPages: of many rows, all are looked up, some at a time; an error ends it at once.
func TestAuditGivesPages(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 1)
	const n = 2*missingAtOnce + 10
	f.insert(t, 2, n+1, "lost")
	f.Exec(t, "select pg_replication_slot_advance($1, pg_current_wal_lsn())", f.config.Slot)
	f.noLimit(t)
	var sizes []int
	seen := make(map[[16]byte]bool)
	r := follow(t, f.open(t))
	a, err := r.Audit(t.Context(), func(_ context.Context, rows []Missing) error {
		sizes = append(sizes, len(rows))
		for _, m := range rows {
			seen[m.ID] = true
		}
		return nil
	})
	r.mustStop()
	if err != nil || a.Rows != n || a.Missing != n || len(seen) != n || !slices.Equal(sizes, []int{missingAtOnce, missingAtOnce, 10}) {
		t.Fatalf("got %+v, %v: pages %v of %d rows", a, err, sizes, len(seen))
	}
	r = follow(t, f.open(t))
	enough := errors.New("enough")
	a, err = r.Audit(t.Context(), func(context.Context, []Missing) error { return enough })
	r.mustStop()
	if !errors.Is(err, enough) || a.Missing != missingAtOnce {
		t.Fatalf("got %+v, %v", a, err)
	}
}

// toTenfold has the server use up xids until the next one of more digits is so far away, unless
// that takes too many.
func toTenfold(t *testing.T, f *fixture, away int64) {
	t.Helper()
	next := pgtest.Value[int64](t, f.DB, "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
	tenfold := int64(10)
	for tenfold <= next {
		tenfold *= 10
	}
	if n := tenfold - next - away; n > 0 && n < 500_000 {
		f.Exec(t, fmt.Sprintf("do $$ begin for i in 1..%d loop perform pg_current_xact_id(); commit; end loop; end $$", n))
	}
}

// TestAuditCompares: whatever was shown, of what is to be shown and besides, just what was not is
// missing.
func TestAuditCompares(t *testing.T) {
	f := newFixture(t)
	db := f.Conn(t)
	const confirmed, last = 1_000, 12_200
	f.insert(t, 1, confirmed, "a")
	base := pgtest.Value[string](t, f.DB, "select pg_current_snapshot()::text")
	// Every other transaction is older than the one before it, and has higher seqs.
	toTenfold(t, f, 20)
	for n := confirmed + 1; n <= last; n += 400 {
		tx, err := db.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "select pg_current_xact_id()"); err != nil {
			t.Fatal(err)
		}
		f.insert(t, n, n+199, "a")
		if _, err := tx.Exec(t.Context(), insertSQL, n+200, n+399, "a"); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	opened := pgtest.Value[string](t, f.DB, "select pg_current_snapshot()::text")
	f.insert(t, last+1, last+500, "a")
	ids := f.ids(t, "seq")
	xids := pgtest.Values[int64](t, f.DB, "select xid::text::bigint from runnel.outbox order by seq")
	rapid.Check(t, func(t *rapid.T) {
		seq := rapid.Int64Range(1, last+500)
		a := &audit{base: base, opened: opened, settled: rapid.SampledFrom([]int64{0, 5_000}).Draw(t, "settled"), seen: newMarks(),
			atOnce: rapid.SampledFrom([]int{137, 200, 400, missingAtOnce}).Draw(t, "at once")}
		lost := make(map[int64]bool)
		for _, n := range rapid.SliceOfN(seq, 0, 50).Draw(t, "lost") {
			for i := range rapid.SampledFrom([]int64{1, 2, 5_000}).Draw(t, "and behind it") {
				lost[n+i] = true
			}
		}
		besides := rapid.Bool().Draw(t, "besides") // what is confirmed, or newer than the opening
		var want []Missing
		for n := int64(1); n <= last+500; n++ {
			toFollow := n > confirmed && n <= last
			if !lost[n] && (toFollow || besides) {
				a.seen.add(n)
			}
			if lost[n] && toFollow && n > a.settled {
				want = append(want, Missing{ID: ids[n-1], Seq: n})
			}
		}
		var got audited
		var err error
		if got.Audit, err = a.compare(context.Background(), db, got.collect); err != nil {
			t.Fatal(err)
		}
		slices.SortStableFunc(want, func(a, b Missing) int { return cmp.Compare(xids[a.Seq-1], xids[b.Seq-1]) })
		if got.Rows != last-max(confirmed, a.settled) || got.Partial || len(got.missing) != len(want) {
			t.Fatalf("of %d rows %d are missing; want %d", got.Rows, len(got.missing), len(want))
		}
		for i, m := range got.missing {
			if m.ID != want[i].ID || m.Seq != want[i].Seq || m.AggregateID != "a" || m.InsertedAt.IsZero() {
				t.Fatalf("got %+v, want %+v", m, want[i])
			}
		}
	})
}

// TestAuditPlan: the list of words is hashed in whatever plan Postgres makes. It would compare each
// row with each of them if it were an array, from the sixth page on, when it no longer knows the list.
// And xids are compared as the numbers that they are.
func TestAuditPlan(t *testing.T) {
	f := newFixture(t)
	db := f.Conn(t)
	f.insert(t, 1, 20_000, "a")
	f.Exec(t, "analyze runnel.outbox")
	for _, sql := range []string{
		"set work_mem = '64MB'", "prepare page (text, text, bigint, bigint, bigint[], text, bigint, int) as " + rowsQuery,
	} {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	for _, mode := range []string{"force_custom_plan", "force_generic_plan"} {
		if _, err := db.Exec(t.Context(), "set plan_cache_mode = "+mode); err != nil {
			t.Fatal(err)
		}
		rows, err := db.Query(t.Context(), "explain execute page ('1:1:', '9000000:9000000:', 0, 9000000, '{1"+strings.Repeat(",2", 70_000)+"}', '0', 0, 50000)")
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(plan, "\n")
		sorted := regexp.MustCompile(`Sort Key: .*`).FindString(text)
		if !strings.Contains(text, "hashed SubPlan") || sorted == "" || strings.Contains(sorted, "text") {
			t.Errorf("%s:\n%s", mode, text)
		}
	}
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
	if a := result(t, r); a.Rows != 1 || len(a.missing) != 0 {
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

// TestAuditEnds: only the stream's passing of the position ends the audit.
func TestAuditEnds(t *testing.T) {
	out := make(chan *audit, 1)
	d := primed(t)
	d.audit = &audit{through: 150, seen: newMarks(), result: out}
	var b batcher
	feed := func(ms ...[]byte) {
		t.Helper()
		for _, m := range ms {
			if err := d.decode(m, &b); err != nil {
				t.Fatal(err)
			}
		}
	}
	feed(beginMessage(100), insertMessage(1, rowCells(&router.Event{Seq: 7})), commitMessage(100, 160))
	if d.audit == nil || len(out) != 0 {
		t.Fatal("ended before the stream was there: the end of a commit is not its LSN")
	}
	d.walEnd(150, &b)
	if got := <-out; d.audit != nil || !got.seen.has(7) || got.seen.has(6) {
		t.Fatalf("got %+v", got)
	}
	feed(beginMessage(200), commitMessage(200, 210)) // costs nothing any more
}
