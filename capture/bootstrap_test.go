package capture

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
)

// TestBootstrapStart: of a new slot nothing counts as confirmed before the rows
// from before it are, which are below its consistent point.
func TestBootstrapStart(t *testing.T) {
	f := newFixture(t)
	f.insert(t, 1, 2, "before")
	s := f.open(t)
	point := s.rec.consistentPoint
	if s.StartLSN() != point-1 || s.Confirmed() != point-1 || !s.Bootstrapping() {
		t.Fatalf("starts at %x, confirmed %x, the consistent point is %x", s.StartLSN(), s.Confirmed(), point)
	}
	r := start(t, s)
	go func() { defer close(r.ended); r.consume() }() // and confirms nothing
	r.await(2)
	done := func() bool { return pgtest.Value[bool](t, f.DB, "select snapshot_done from runnel.pipeline") }
	// After a row of the stream came, there was every occasion.
	f.insert(t, 3, 3, "after")
	r.await(3)
	r.Confirm(point - 1)
	replied := statusSent(t, f)
	replied()
	if done() || r.Confirmed() != point-1 {
		t.Fatalf("done: %v, confirmed %x of %x", done(), r.Confirmed(), point)
	}
	r.Confirm(point)
	pgtest.Eventually(t, patience, done)
	r.mustStop()
}

// statusSent returns a function that waits for the server to hear from the
// daemon once more than when it was last called.
func statusSent(t *testing.T, f *fixture) func() {
	conn := f.Conn(t)
	last := ""
	heard := func() string {
		var at string
		err := conn.QueryRow(t.Context(), `select coalesce(reply_time::text, '') from pg_stat_replication
			where usename = $1`, f.Role("daemon")).Scan(&at)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	return func() {
		t.Helper()
		for range 2 { // the first may have been under way
			last = heard()
			pgtest.Eventually(t, patience, func() bool { return heard() != last }, "no status message")
		}
	}
}

// stalled is a source whose snapshot and some rows of the stream are confirmed,
// while the record of that waits for a lock, which release gives up.
func stalled(t *testing.T, f *fixture) (r *running, release func()) {
	t.Helper()
	f.insert(t, 1, 3, "before")
	s := f.open(t)
	holder := f.Conn(t)
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "select from runnel.pipeline for update"); err != nil {
		t.Fatal(err)
	}
	r = follow(t, s)
	f.insert(t, 4, 5, "after")
	r.await(5)
	pgtest.Eventually(t, patience, func() bool { return r.Confirmed() > r.rec.consistentPoint })
	statusSent(t, f)()
	if at := f.confirmedFlush(t); at > r.rec.consistentPoint {
		t.Fatalf("the slot is at %x, beyond its consistent point %x, which is not recorded as done", at, r.rec.consistentPoint)
	}
	return r, func() {
		if err := tx.Rollback(context.Background()); err != nil && !errors.Is(err, pgx.ErrTxClosed) {
			t.Error(err)
		}
	}
}

// again opens once more and requires the same rows at the same positions.
func (f *fixture) again(t *testing.T, before []row) {
	t.Helper()
	f.awaitFree(t)
	s := f.open(t)
	if !s.Bootstrapping() || s.StartLSN() != s.rec.consistentPoint-1 {
		t.Fatalf("starts at %x, bootstrapping: %v", s.StartLSN(), s.Bootstrapping())
	}
	r := follow(t, s)
	for i, x := range r.await(len(before)) {
		if x != before[i] {
			t.Fatalf("row %d was %v, is %v", i, before[i], x)
		}
	}
	// Once it is recorded, the slot goes on.
	pgtest.Eventually(t, patience, func() bool { return f.confirmedFlush(t) > s.rec.consistentPoint })
	if !pgtest.Value[bool](t, f.DB, "select snapshot_done from runnel.pipeline") {
		t.Fatal("the slot passed the consistent point first")
	}
	r.mustStop()
}

// TestKilledBeforeMark: killed while the end of the bootstrap is being
// recorded, all that followed is replayed too.
func TestKilledBeforeMark(t *testing.T) {
	f := newFixture(t)
	r, release := stalled(t, f)
	f.Exec(t, "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", f.Role("daemon"))
	release()
	if err := r.wait(); err == nil || Halts(err) {
		t.Fatalf("got %v", err)
	}
	f.again(t, r.received())
}

// TestStoppedBeforeMark: the good-bye does not run ahead of the record either.
func TestStoppedBeforeMark(t *testing.T) {
	f := newFixture(t)
	r, release := stalled(t, f)
	if err := r.stop(); err == nil {
		t.Fatal("stopped without a word")
	}
	if at := f.confirmedFlush(t); at > r.rec.consistentPoint {
		t.Fatalf("the slot is at %x, the consistent point at %x", at, r.rec.consistentPoint)
	}
	release()
	f.again(t, r.received())
}

// TestBeyondConsistentPoint: a slot beyond the consistent point, without the
// record, goes on from there; the audit follows the rows from before the slot,
// and the record is made with the progress.
func TestBeyondConsistentPoint(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 3)
	at := f.confirmedFlush(t)
	f.Exec(t, "update runnel.pipeline set snapshot_done = false")
	f.insert(t, 4, 5, "a")
	for range 2 { // also when the first attempt dies before it saves progress
		s := f.open(t)
		if s.Bootstrapping() || s.StartLSN() != at || s.Confirmed() != at || at <= s.rec.consistentPoint {
			t.Fatalf("starts at %x, the slot is at %x", s.StartLSN(), at)
		}
		r := start(t, s)
		go func() { defer close(r.ended); r.consume() }()
		if a := result(t, r); a.Rows != 5 || len(a.missing) != 3 || a.missing[0].ID != f.ids(t, "seq")[0] {
			t.Fatalf("got %+v", a)
		}
		if got := payloads(r.await(2)); got != "4 5" {
			t.Fatalf("got %s", got)
		}
		r.mustStop()
	}
	p, err := NewProgress(t.Context(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	none := func() []PartitionTail { return nil }
	for range 2 { // sample, then save
		if err := p.step(t.Context(), func() uint64 { return 1 << 62 }, none); err != nil {
			t.Fatal(err)
		}
	}
	if !pgtest.Value[bool](t, f.DB, "select snapshot_done from runnel.pipeline") {
		t.Fatal("not recorded")
	}
}

// TestPublicationAltered: rows of a partition halt the stream, are not
// confirmed, and no progress is saved over them.
func TestPublicationAltered(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 1)
	s := f.open(t)
	p := newTestProgress(t, f)
	r := follow(t, s)
	<-r.Started()
	f.Exec(t, "alter publication runnel set (publish_via_partition_root = false)")
	f.insert(t, 2, 3, "lost?")
	err := r.wait()
	mustCode(t, err, ErrPublication)
	if !Halts(err) || !strings.Contains(err.Error(), "runnel.outbox_") || r.count() != 0 {
		t.Fatalf("got %v after %d rows", err, r.count())
	}
	at := pgtest.Values[int64](t, f.DB, "select (confirmed_flush_lsn - '0/0')::bigint from pg_replication_slots where slot_name = $1", f.config.Slot)[0]
	f.Exec(t, "alter publication runnel set (publish_via_partition_root = true)")
	mustCode(t, p.step(t.Context(), func() uint64 { return 1 << 62 }, nil), ErrPublication)
	// The next start meets them again: they stay in the stream as they were.
	mustCode(t, follow(t, f.open(t)).wait(), ErrPublication)
	if now := f.confirmedFlush(t); int64(now) > at {
		t.Fatalf("the slot went on from %x to %x", at, now)
	}
}

func newTestProgress(t *testing.T, f *fixture) *Progress {
	t.Helper()
	p, err := NewProgress(t.Context(), f.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// TestPublicationGap: the outbox was out of the publication for a while, and
// is in it again. Nothing in the stream tells; progress is not saved, so that
// the next start's audit finds the row.
func TestPublicationGap(t *testing.T) {
	f := newFixture(t)
	bootstrapped(t, f, 1)
	s := f.open(t)
	p := newTestProgress(t, f)
	r := follow(t, s)
	<-r.Started()
	f.Exec(t, "alter publication runnel drop table runnel.outbox")
	f.insert(t, 2, 2, "lost")
	f.Exec(t, "alter publication runnel add table runnel.outbox")
	f.insert(t, 3, 3, "seen")
	r.await(1)
	p.sample = sample{since: "0/0", snapshot: pgtest.Value[string](t, f.DB, "select pg_current_snapshot()::text"), lsn: 1}
	changed := func() []PartitionTail {
		return []PartitionTail{{Topic: "t", Last: position.Stamp{Position: position.Position{Epoch: 1, LSN: 1}, Ordinal: 1}}}
	}
	err := p.step(t.Context(), r.Confirmed, changed)
	mustCode(t, err, ErrPublication)
	if !Halts(err) || pgtest.Value[int](t, f.DB, "select count(*) from runnel.progress") != 0 {
		t.Fatalf("got %v, or progress was saved", err)
	}
	r.mustStop()
	next := follow(t, f.open(t))
	a := result(t, next)
	if len(a.missing) != 2 || a.missing[0].AggregateID != "lost" {
		t.Fatalf("got %+v", a)
	}
	next.mustStop()
}

// TestPublicationBetween: changed between Open and Run.
func TestPublicationBetween(t *testing.T) {
	f := newFixture(t)
	s := f.open(t)
	f.Exec(t, "alter publication runnel drop table runnel.outbox; alter publication runnel add table runnel.outbox")
	mustCode(t, follow(t, s).wait(), ErrPublication)
}

// TestRolledBackWhileMade: a slot made while there always is a transaction,
// each rolled back, has a snapshot with xmax below xmin.
func TestRolledBackWhileMade(t *testing.T) {
	f := newFixture(t)
	f.insert(t, 1, 2, "before")
	var holders [3]*pgx.Conn
	for i := range holders {
		holders[i] = f.Conn(t)
	}
	exec := func(c *pgx.Conn, sql string) {
		t.Helper()
		if _, err := c.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	type opened struct {
		*Source
		err error
	}
	result := make(chan opened, 1)
	exec(holders[0], "begin; select pg_current_xact_id()")
	go func() {
		s, err := Open(t.Context(), f.config)
		result <- opened{s, err}
	}()
	for i := range 2 {
		pgtest.Eventually(t, patience, func() bool {
			// Slots that other tests make on this server wait as well.
			return pgtest.Value[bool](t, f.DB, `select exists (select from pg_stat_activity
				where usename = $1 and $2 = any(pg_blocking_pids(pid)))`, f.Role("daemon"), int32(holders[i].PgConn().PID()))
		}, "the making of the slot does not wait for transaction %d", i)
		exec(holders[i+1], "begin; select pg_current_xact_id()")
		exec(holders[i], "rollback")
	}
	o := <-result
	if o.err != nil {
		t.Fatal(o.err)
	}
	t.Cleanup(o.Close)
	exec(holders[2], "rollback")
	r := follow(t, o.Source)
	f.insert(t, 3, 4, "after")
	if got := payloads(r.await(4)); got != "1 2 3 4" {
		t.Fatalf("got %s", got)
	}
	r.mustStop()
}

// TestFirstStarts: two daemons start at once for the first time. One makes the
// slot; the other waits until it is recorded, and leaves it alone.
func TestFirstStarts(t *testing.T) {
	f := newFixture(t)
	holder := f.Conn(t)
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Reading goes on, recording waits. It takes no transaction id, so that
	// the making of the slot does not wait.
	if _, err := tx.Exec(t.Context(), "lock table runnel.pipeline in share mode"); err != nil {
		t.Fatal(err)
	}
	type opened struct {
		*Source
		err error
	}
	results := make(chan opened, 2)
	open := func() {
		s, err := Open(t.Context(), f.config)
		results <- opened{s, err}
	}
	holds := func(condition string) {
		t.Helper()
		pgtest.Eventually(t, patience, func() bool { return pgtest.Value[bool](t, f.DB, condition, f.Role("daemon")) }, "%s", condition)
	}
	go open()
	holds("select exists (select from pg_stat_activity where usename = $1 and query like 'insert into runnel.pipeline%' and wait_event_type = 'Lock')")
	go open()
	holds("select exists (select from pg_stat_activity where usename = $1 and query like '%pg_try_advisory_lock%')")
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	var sources []opened
	for range 2 {
		o := <-results
		if o.err != nil {
			t.Fatal(o.err)
		}
		defer o.Close()
		sources = append(sources, o)
	}
	a, b := sources[0], sources[1]
	if a.StartLSN() != b.StartLSN() || a.rec.snapshot != b.rec.snapshot || f.confirmedFlush(t) != a.rec.consistentPoint {
		t.Fatalf("started at %x and %x; the slot is at %x", a.StartLSN(), b.StartLSN(), f.confirmedFlush(t))
	}
	r := follow(t, a.Source)
	f.insert(t, 1, 2, "a")
	r.await(2)
	r.mustStop()
}

// TestLockedPipeline: the wait for the lock ends, by its limit or by ctx.
func TestLockedPipeline(t *testing.T) {
	f := newFixture(t)
	s, other := f.open(t), f.open(t)
	unlock, err := s.lockPipeline(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.lockPipeline(t.Context(), 2*lockEvery)
	mustCode(t, err, ErrSlotBusy)
	if Halts(err) {
		t.Fatal("halts")
	}
	ctx, cancel := context.WithTimeout(t.Context(), lockEvery/2)
	defer cancel()
	if _, err := other.lockPipeline(ctx, patience); err == nil || ctx.Err() == nil {
		t.Fatalf("got %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	third := f.open(t)
	if unlock, err = third.lockPipeline(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}
