package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

func (b *box) housekeeper(retention time.Duration) *outbox.Housekeeper {
	return &outbox.Housekeeper{
		Connect:   func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, b.daemon) },
		Retention: retention,
	}
}

func (b *box) keepHouse(t testing.TB, retention time.Duration) outbox.Housekeeping {
	t.Helper()
	done, err := b.housekeeper(retention).RunOnce(t.Context())
	if err != nil {
		t.Fatalf("housekeeping: %v", err)
	}
	return done
}

// insertAt commits one row as if it had been inserted at that time.
func (b *box) insertAt(t testing.TB, at string) {
	t.Helper()
	b.Exec(t, "insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload, inserted_at) values ('order', '1', 'OrderPlaced', 2, '{}', $1::text::timestamptz)", at)
}

func (b *box) makePartition(t testing.TB, name, from, to string) {
	t.Helper()
	b.Exec(t, fmt.Sprintf("set role %s; select runnel.make_partition('%s', $$for values from ('%s') to ('%s')$$)", b.roles.Owner, name, from, to))
}

// confirm records a pipeline that has confirmed everything committed until now.
func (b *box) confirm(t testing.TB, pipeline string) {
	t.Helper()
	b.Exec(t, `insert into runnel.pipeline (name, slot, system_id, snapshot_done)
		select '`+pipeline+`', 's', system_identifier::text, true from pg_control_system() on conflict do nothing;
		insert into runnel.progress (pipeline, confirmed_lsn, snapshot) values ('`+pipeline+`', '0/1', pg_current_snapshot())
		on conflict (pipeline) do update set snapshot = excluded.snapshot`)
}

func (b *box) partitions(t testing.TB) []string {
	t.Helper()
	return pgtest.Values[string](t, b.DB, "select name from runnel.partitions()")
}

func TestPartitionsAhead(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	db.Exec(t, "alter database "+db.Name()+" reset all") // as a user's is
	b := &box{DB: db, roles: testRoles(db)}
	if _, err := outbox.Init(t.Context(), db.Conn(t), outbox.InitOptions{Roles: b.roles}); err != nil {
		t.Fatal(err)
	}
	if n := len(b.partitions(t)); n != 32 { // today, 30 days ahead, default
		t.Errorf("%d partitions after init", n)
	}
	db.Exec(t, "alter role "+b.roles.Daemon+" password 'd'")
	b.daemon = db.URLAs(b.roles.Daemon, "d")
	b.Exec(t, "do $$ declare p record; begin for p in select name from runnel.partitions() loop execute 'drop table runnel.' || p.name; end loop; end $$")
	if done := b.keepHouse(t, 0); done.Created != 32 {
		t.Errorf("made %d partitions", done.Created)
	}
	if done := b.keepHouse(t, 0); done.Created != 0 || done.Adopted != "" || done.Dropped != nil {
		t.Errorf("second run: %+v", done)
	}
	gaps := pgtest.Value[int](t, b.DB, "select count(*) from (select lower, lag(upper) over (order by lower) as end_before from runnel.partitions() where not is_default) x where lower <> end_before")
	if gaps > 0 {
		t.Errorf("%d gaps between days", gaps)
	}
}

// A stopped daemon does not stop the business: without partitions, rows go to
// the default partition, which becomes a proper one as it is.
func TestAdoptDefault(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.Exec(t, "do $$ declare p record; begin for p in select name from runnel.partitions() where not is_default loop execute 'drop table runnel.' || p.name; end loop; end $$")
	writer := pgtest.Conn(t, b.writer)
	publish(t, writer, "1", "2")
	b.insertAt(t, time.Now().AddDate(0, 0, -3).Format(time.RFC3339))
	places := "select (tableoid::regclass::oid)::text || ctid::text from runnel.outbox order by seq"
	before := pgtest.Values[string](t, b.DB, places)

	done := b.keepHouse(t, 0)
	if !strings.HasPrefix(done.Adopted, "outbox_p") || done.Created != 30 {
		t.Errorf("housekeeping: %+v", done)
	}
	if after := pgtest.Values[string](t, b.DB, places); !slices.Equal(before, after) || len(after) != 3 {
		t.Errorf("rows moved from %v to %v", before, after)
	}
	publish(t, writer, "3")
	if n := pgtest.Value[int](t, b.DB, "select count(*) from runnel.outbox_default"); n != 0 {
		t.Errorf("%d rows in the new default partition", n)
	}
	if n := pgtest.Value[int](t, b.DB, "select count(*) from runnel."+done.Adopted); n != 4 {
		t.Errorf("%d rows in the adopted partition, want 4", n)
	}
}

func TestAdoptUnderConcurrentInserts(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.Exec(t, "do $$ declare p record; begin for p in select name from runnel.partitions() where not is_default loop execute 'drop table runnel.' || p.name; end loop; end $$")
	const writers = 3
	stop, results := make(chan struct{}), make(chan error, writers)
	counts := make([]int, writers)
	for w := range writers {
		conn := pgtest.Conn(t, b.writer)
		go func() {
			for {
				select {
				case <-stop:
					results <- nil
					return
				default:
				}
				err := pgx.BeginFunc(context.Background(), conn, func(tx pgx.Tx) error {
					_, err := outbox.Publish(context.Background(), tx, event("a"), event("b"))
					return err
				})
				if err != nil {
					results <- err
					return
				}
				counts[w] += 2
			}
		}()
	}
	pgtest.Eventually(t, 10*time.Second, func() bool {
		return pgtest.Value[int](t, b.DB, "select count(*) from runnel.outbox_default") > 50
	})
	done := b.keepHouse(t, 0)
	rows := pgtest.Value[int](t, b.DB, "select count(*) from runnel.outbox")
	pgtest.Eventually(t, 10*time.Second, func() bool {
		return pgtest.Value[int](t, b.DB, "select count(*) from runnel.outbox") > rows
	}, "writers go on")
	close(stop)
	want := 0
	for range writers {
		if err := <-results; err != nil {
			t.Errorf("writer: %v", err)
		}
	}
	for _, n := range counts {
		want += n
	}
	if got := pgtest.Value[int](t, b.DB, "select count(*) from runnel.outbox"); got != want || done.Adopted == "" {
		t.Errorf("%d rows, want %d; %+v", got, want, done)
	}
}

// Rows on both sides of a partition stay in the default partition, are
// reported, and go by retention.
func TestStraddlingDefault(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.makePartition(t, "outbox_middle", "2020-02-01 00:00+00", "2020-02-02 00:00+00")
	b.insertAt(t, "2020-01-01 12:00+00")
	b.insertAt(t, "2020-03-01 12:00+00")
	_, err := b.housekeeper(0).RunOnce(t.Context())
	if !errors.Is(err, outbox.ErrStraddle) {
		t.Fatalf("housekeeping: %v", err)
	}
	if n := pgtest.Value[int](t, b.DB, "select count(*) from runnel.outbox_default"); n != 2 {
		t.Errorf("%d rows in the default partition", n)
	}
	b.confirm(t, "p")
	done, _ := b.housekeeper(24 * time.Hour).RunOnce(t.Context())
	if !slices.Equal(done.Dropped, []string{"outbox_middle", "outbox_default"}) {
		t.Errorf("dropped %v", done.Dropped)
	}
	if !slices.Contains(b.partitions(t), "outbox_default") {
		t.Error("no default partition any more")
	}
	b.keepHouse(t, 0) // nothing straddles any more
}

func TestDropOnlyWhatIsOldAndConfirmed(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.makePartition(t, "outbox_old", "2020-02-01 00:00+00", "2020-02-02 00:00+00")
	b.insertAt(t, "2020-02-01 12:00+00")
	const day = 24 * time.Hour
	keeps := func(why string, retention time.Duration) {
		t.Helper()
		if done := b.keepHouse(t, retention); len(done.Dropped) > 0 {
			t.Fatalf("dropped %v although %s", done.Dropped, why)
		}
	}
	keeps("no pipeline is recorded", day)
	b.Exec(t, "insert into runnel.pipeline (name, slot, system_id, snapshot_done) select 'p', 's', system_identifier::text, true from pg_control_system()")
	keeps("the pipeline has no progress", day)
	b.Exec(t, "insert into runnel.progress (pipeline, confirmed_lsn) values ('p', '0/1')")
	keeps("its progress has no snapshot", day)
	b.confirm(t, "p")
	keeps("there is no retention", 0)
	keeps("the retention is negative", -day)
	keeps("the retention is longer", 100*365*day)
	b.Exec(t, "update runnel.pipeline set snapshot_done = false")
	keeps("the rows before the slot are not all published", day)
	b.Exec(t, "update runnel.pipeline set snapshot_done = true, system_id = 'another'")
	keeps("progress is of another cluster", day)
	b.Exec(t, "update runnel.pipeline set system_id = (select system_identifier::text from pg_control_system())")
	b.Exec(t, "insert into runnel.pipeline (name, slot, system_id, snapshot_done) select 'q', 's', system_identifier::text, true from pg_control_system()")
	keeps("a second pipeline has no progress", day)
	b.confirm(t, "q")
	b.insertAt(t, "2020-02-01 13:00+00")
	keeps("one row is not confirmed", day)
	b.confirm(t, "p")
	keeps("one row is not confirmed by one pipeline", day)
	b.confirm(t, "q")

	// A writer that has not committed yet: its row is not visible to anyone.
	slow := b.Conn(t)
	run(t, slow, "begin")
	run(t, slow, "insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload, inserted_at) values ('order', '1', 'OrderPlaced', 2, '{}', '2020-02-01 14:00+00')")
	b.confirm(t, "p")
	b.confirm(t, "q")
	_, err := pgtest.Conn(t, b.daemon).Exec(t.Context(), "select runnel.drop_confirmed('1 day')")
	if got := state(t, err); got != "55P03" {
		t.Fatalf("drop beside an open transaction: %q (%v), want lock_not_available", got, err)
	}
	run(t, slow, "commit")
	keeps("the row was committed after the snapshot", day)
	b.confirm(t, "p")
	b.confirm(t, "q")

	_, err = pgtest.Conn(t, b.daemon).Exec(t.Context(), "begin isolation level repeatable read; select runnel.drop_confirmed('1 day')")
	if got := state(t, err); got != "RN004" {
		t.Errorf("repeatable read: %q (%v)", got, err)
	}
	if done := b.keepHouse(t, day); !slices.Equal(done.Dropped, []string{"outbox_old"}) {
		t.Errorf("dropped %v", done.Dropped)
	}
	keeps("nothing is left to drop", day)
}

// The drop rule against a model: a partition goes if and only if each of its
// rows is visible in every pipeline's snapshot. Snapshots are made up around
// real xids, with transactions still in progress among them.
func TestDropRuleGenerated(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	conn := b.Conn(t)
	b.confirm(t, "p")
	b.confirm(t, "q")
	now := pgtest.Value[int64](t, b.DB, "select pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
	for month := range 3 {
		b.makePartition(t, fmt.Sprintf("outbox_m%d", month+1), fmt.Sprintf("2020-%02d-01 00:00+00", month+1), fmt.Sprintf("2020-%02d-01 00:00+00", month+2))
	}
	rapid.Check(t, func(rt *rapid.T) {
		run(t, conn, "begin") // rolled back: the partitions serve again
		defer run(t, conn, "rollback")
		var want []string
		snapshots := make([]snapshot, 2)
		for i, name := range []string{"p", "q"} {
			s := snapshot{xmin: now + int64(rapid.IntRange(0, 6).Draw(rt, "xmin"))}
			s.xmax = s.xmin + int64(rapid.IntRange(0, 6).Draw(rt, "more"))
			for xid := s.xmin; xid < s.xmax; xid++ {
				if rapid.Bool().Draw(rt, "in progress") {
					s.running = append(s.running, xid)
				}
			}
			snapshots[i] = s
			run(t, conn, "update runnel.progress set snapshot = $2::text::pg_snapshot where pipeline = $1", name, s.String())
		}
		for month := range 3 {
			name := fmt.Sprintf("outbox_m%d", month+1)
			xids := rapid.SliceOfN(rapid.Int64Range(now-2, now+14), 0, 4).Draw(rt, "xids")
			for _, xid := range xids {
				run(t, conn, "insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload, inserted_at, xid) values ('order', '1', 'A', 2, '{}', make_timestamptz(2020, $1, 2, 0, 0, 0, 'UTC'), $2::text::xid8)", month+1, fmt.Sprint(xid))
			}
			if !slices.ContainsFunc(xids, func(xid int64) bool { return !snapshots[0].sees(xid) || !snapshots[1].sees(xid) }) {
				want = append(want, name)
			}
		}
		var got []string
		for {
			var name *string
			if err := conn.QueryRow(t.Context(), "select runnel.drop_confirmed('1 day')").Scan(&name); err != nil {
				t.Fatal(err)
			}
			if name == nil {
				break
			}
			got = append(got, *name)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("snapshots %v: dropped %v, want %v", snapshots, got, want)
		}
	})
}

type snapshot struct {
	xmin, xmax int64
	running    []int64
}

func (s snapshot) String() string {
	text := fmt.Sprintf("%d:%d:", s.xmin, s.xmax)
	for i, xid := range s.running {
		if i > 0 {
			text += ","
		}
		text += fmt.Sprint(xid)
	}
	return text
}

func (s snapshot) sees(xid int64) bool {
	return xid < s.xmin || xid < s.xmax && !slices.Contains(s.running, xid)
}

// A lock that is held for a while only delays housekeeping.
func TestHousekeepingRetriesOnLocks(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.Exec(t, "drop table runnel.outbox_default")
	b.Exec(t, "select runnel.ensure_partitions()")
	b.insertAt(t, "2020-01-01")
	holder := b.Conn(t)
	run(t, holder, "begin; lock table runnel.outbox_default in row exclusive mode")
	result := make(chan error, 1)
	go func() {
		_, err := b.housekeeper(0).RunOnce(context.Background())
		result <- err
	}()
	waiting := "select count(*) from pg_locks where not granted and relation = 'runnel.outbox_default'::regclass"
	pgtest.Eventually(t, 10*time.Second, func() bool { return pgtest.Value[int](t, b.DB, waiting) > 0 }, "waits for the lock")
	pgtest.Eventually(t, 10*time.Second, func() bool { return pgtest.Value[int](t, b.DB, waiting) == 0 }, "gave up for now")
	run(t, holder, "commit")
	if err := <-result; err != nil {
		t.Error(err)
	}
	if n := pgtest.Value[int](t, b.DB, "select count(*) from runnel.outbox_default"); n != 0 {
		t.Error("not adopted")
	}
}

// TestHousekeeperRuns is not parallel: what others start would look like a leak of its own.
func TestHousekeeperRuns(t *testing.T) {
	b := newBox(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	busy := b.Conn(t) // of this database, another housekeeper
	run(t, busy, "select pg_advisory_lock(1381322316, 3)")
	ctx, cancel := context.WithCancel(t.Context())
	runs := make(chan outbox.Housekeeping)
	keeper := b.housekeeper(0)
	keeper.Interval = 20 * time.Millisecond
	keeper.OnRun = func(done outbox.Housekeeping, err error) {
		if err != nil {
			t.Errorf("run: %v", err)
		}
		select {
		case runs <- done:
		case <-ctx.Done():
		}
	}
	stopped := make(chan error, 1)
	go func() { stopped <- keeper.Run(ctx) }()
	if done := <-runs; !done.Elsewhere {
		t.Errorf("beside another housekeeper: %+v", done)
	}
	run(t, busy, "select pg_advisory_unlock(1381322316, 3)")
	pgtest.Eventually(t, 10*time.Second, func() bool { return !(<-runs).Elsewhere }, "takes over")
	cancel()
	if err := <-stopped; err != nil {
		t.Errorf("stopped with %v", err)
	}
	if err := new(outbox.Housekeeper).Run(t.Context()); err == nil {
		t.Error("runs without Connect")
	}
}
