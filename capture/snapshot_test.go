package capture

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// TestSnapshotWithWriters opens the source while others write: the rows from
// before the slot and the stream together are the table, each row once, and
// the stream is in the order in which an independent slot saw the commits.
func TestSnapshotWithWriters(t *testing.T) {
	f := newFixture(t)
	f.unchecked(t)
	f.Exec(t, "select pg_create_logical_replication_slot($1, 'test_decoding')", f.Slot("witness"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	var n sync.Map
	for w := range 4 {
		conn := f.Conn(t)
		wg.Go(func() {
			i := 0
			for ; ctx.Err() == nil; i++ {
				if err := writeSome(conn, w, i); err != nil {
					t.Error(err)
					return
				}
			}
			n.Store(w, i)
		})
	}
	written := func() int { return pgtest.Value[int](t, f.DB, "select count(*) from runnel.outbox") }
	pgtest.Eventually(t, patience, func() bool { return written() > 200 })
	s := f.open(t)
	before := written()
	r := follow(t, s)
	pgtest.Eventually(t, patience, func() bool { return written() > before+200 })
	cancel()
	wg.Wait()
	rows := r.await(written())
	r.mustStop()
	checkSet(t, f, rows)
	checkPositions(t, rows)

	snapshot := 0
	for snapshot < len(rows) && rows[snapshot].at.LSN == s.StartLSN() {
		snapshot++
	}
	if snapshot < 100 || len(rows)-snapshot < 100 {
		t.Fatalf("%d rows from before the slot, %d from the stream: too few to tell", snapshot, len(rows)-snapshot)
	}
	for i := 1; i < snapshot; i++ {
		if rows[i-1].seq >= rows[i].seq {
			t.Fatalf("the rows from before the slot are not in order of seq at %d", i)
		}
	}
	streamed := make(map[int64]bool)
	var got []int64
	for _, x := range rows[snapshot:] {
		streamed[x.seq] = true
		got = append(got, x.seq)
	}
	var want []int64
	number := regexp.MustCompile(`seq\[bigint\]:(\d+)`)
	for _, line := range pgtest.Values[string](t, f.DB, "select data from pg_logical_slot_peek_changes($1, null, null)", f.Slot("witness")) {
		if m := number.FindStringSubmatch(line); m != nil {
			seq, _ := strconv.ParseInt(m[1], 10, 64)
			if streamed[seq] {
				want = append(want, seq)
			}
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatal("the stream is not in the order that the independent slot saw")
	}
}

// writeSome writes a transaction of one to three rows; every fifth is rolled
// back, every seventh has a savepoint rolled back.
func writeSome(conn *pgx.Conn, w, i int) error {
	ctx := context.Background()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(ctx) }()
	for k := range 1 + i%3 {
		if _, err := tx.Exec(ctx, insertSQL, i, i, fmt.Sprintf("w%d-%d", w, k)); err != nil {
			return err
		}
	}
	if i%7 == 0 {
		sub, err := tx.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := sub.Exec(ctx, insertSQL, -1, -1, "never"); err != nil {
			return err
		}
		if err := sub.Rollback(ctx); err != nil {
			return err
		}
	}
	if i%5 == 0 {
		return nil
	}
	return tx.Commit(ctx)
}

// TestSnapshotKilled: killed amid the rows from before the slot, the next run
// gives the same rows at the same positions, and then the stream.
func TestSnapshotKilled(t *testing.T) {
	f := newFixture(t)
	f.unchecked(t)
	const before = 5000
	f.insert(t, 1, before, "before")
	s := f.open(t)
	r := start(t, s)
	var first []row
	for b := range r.out { // take a part, then kill both sessions
		for i := range b.Inputs {
			if err := r.step(&b.Inputs[i]); err != nil {
				t.Fatal(err)
			}
		}
		if first = r.rows; len(first) >= 1000 {
			break
		}
	}
	f.Exec(t, "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1", f.Role("daemon"))
	drain(r)
	close(r.ended)
	if r.err == nil || Halts(r.err) {
		t.Fatalf("got %v", r.err)
	}
	f.insert(t, before+1, before+10, "after")

	s = f.open(t)
	if !s.Bootstrapping() {
		t.Fatal("the bootstrap counts as done")
	}
	r = follow(t, s)
	rows := r.await(before + 10)
	for i := range first {
		if rows[i] != first[i] {
			t.Fatalf("row %d was %v, is %v", i, first[i], rows[i])
		}
	}
	checkSet(t, f, rows)
	checkPositions(t, rows)
	if at := rows[before-1].at; at.LSN != s.StartLSN() || at.Index != before-1 {
		t.Fatalf("the last row from before the slot is at %s", at)
	}
	pgtest.Eventually(t, patience, func() bool {
		return pgtest.Value[bool](t, f.DB, "select snapshot_done from runnel.pipeline")
	})
	r.mustStop()
	if f.open(t).Bootstrapping() {
		t.Fatal("the bootstrap is not done")
	}
}

// TestStopRecordsSnapshot: a clean stop right after the confirmation still
// records the end of the bootstrap.
func TestStopRecordsSnapshot(t *testing.T) {
	f := newFixture(t)
	f.config.StatusInterval = 0 // a second: the stop comes first
	f.insert(t, 1, 3, "a")
	r := follow(t, f.open(t))
	r.await(3)
	pgtest.Eventually(t, patience, func() bool { return r.Confirmed() >= r.rec.consistentPoint && r.count() == 3 })
	r.mustStop()
	if !pgtest.Value[bool](t, f.DB, "select snapshot_done from runnel.pipeline") {
		t.Fatal("not recorded")
	}
}

// TestSnapshotBlocked: the rows from before the slot wait for a slow taker
// longer than wal_sender_timeout.
func TestSnapshotBlocked(t *testing.T) {
	f := newFixture(t)
	f.unchecked(t)
	f.Exec(t, "alter role "+f.Role("daemon")+" set wal_sender_timeout = '500ms'")
	f.insert(t, 1, 10_000, "a")
	r := start(t, f.open(t))
	<-r.Started()
	other := f.Conn(t)
	if _, err := other.Exec(t.Context(), "select pg_sleep(1.5)"); err != nil {
		t.Fatal(err)
	}
	r.auto = true
	go func() { defer close(r.ended); r.consume() }()
	r.await(10_000)
	f.insert(t, 10_001, 10_001, "a")
	checkSet(t, f, r.await(10_001))
	r.mustStop()
}

// TestAwaited: making the slot waits for a running transaction, and says which.
func TestAwaited(t *testing.T) {
	f := newFixture(t)
	var log lines
	f.config.Logger = log.logger()
	holder := f.Conn(t)
	ctx := t.Context()
	if _, err := holder.Exec(ctx, "set application_name = 'slow writer'; begin; select pg_current_xact_id()"); err != nil {
		t.Fatal(err)
	}
	opened := make(chan error, 1)
	go func() {
		s, err := Open(ctx, f.config)
		if err == nil {
			s.Close()
		}
		opened <- err
	}()
	want := regexp.MustCompile(`making the slot waits.*pid ` + strconv.Itoa(int(holder.PgConn().PID())) + ` \(slow writer, user \w+, database ` + f.Name())
	pgtest.Eventually(t, patience, func() bool { return want.MatchString(log.String()) }, "log: %s", log.String)
	if _, err := holder.Exec(ctx, "commit"); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
}

// TestAwaitedCancelled: giving up while the server waits leaves nothing behind.
func TestAwaitedCancelled(t *testing.T) {
	f := newFixture(t)
	holder := f.Conn(t)
	if _, err := holder.Exec(t.Context(), "begin; select pg_current_xact_id()"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	opened := make(chan error, 1)
	go func() { _, err := Open(ctx, f.config); opened <- err }()
	slots := func() int {
		return pgtest.Value[int](t, f.DB, "select count(*) from pg_replication_slots where slot_name = $1", f.config.Slot)
	}
	pgtest.Eventually(t, patience, func() bool { return slots() == 1 })
	cancel()
	if err := <-opened; err == nil {
		t.Fatal("Open returned without an error")
	}
	pgtest.Eventually(t, patience, func() bool { return slots() == 0 })
}
