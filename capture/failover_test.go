package capture

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// replicaSet is a primary with a standby that takes over its slots.
type replicaSet struct {
	primary, standby *devstack.Stack
	*fixture                // on the primary
	other            string // the daemon's URL on the standby
}

// newReplicaSet starts both. It needs slots for failover.
func newReplicaSet(t *testing.T) *replicaSet {
	t.Helper()
	primary, major := ownServer(t)
	if major < 17 {
		t.Skip("slots survive a failover from Postgres 17 on")
	}
	db := pgtest.NewOn(t, primary.PostgresURL)
	db.Exec(t, "select pg_create_physical_replication_slot('standby')")
	db.Exec(t, "alter system set synchronized_standby_slots = 'standby'")
	db.Exec(t, "select pg_reload_conf()")
	r := &replicaSet{primary: primary, fixture: newFixtureIn(t, db)}
	dir := t.TempDir()
	if err := primary.PrepareStandby(t.Context(), dir, "standby"); err != nil {
		t.Fatal(err)
	}
	r.standby = stacktest.Up(t, devstack.Options{Postgres: true, Dir: dir})
	r.other = onServer(t, r.config.URL, r.standby.PostgresURL)
	return r
}

// onServer is a URL with the address of another.
func onServer(t *testing.T, address, server string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = at.Host
	return u.String()
}

// synced waits until the standby has the slot. It has it once the slot has moved on, so
// the slot is to be in use.
func (r *replicaSet) synced(t *testing.T) {
	t.Helper()
	on := pgtest.Conn(t, r.standby.PostgresURL)
	pgtest.Eventually(t, patience, func() bool {
		r.Exec(t, "select pg_log_standby_snapshot()")
		return ask(t, on, `select exists (select from pg_replication_slots where slot_name = '`+r.config.Slot+`' and synced and not temporary)::text`) == "true"
	}, "the standby has the slot: %s", func() string {
		return ask(t, on, `select coalesce(jsonb_agg(s), '[]')::text from pg_replication_slots s`)
	})
}

// failOver waits until the standby has what the primary has, and lets it take over. The
// primary is started again at the end of the test, to be cleaned up.
func (r *replicaSet) failOver(t *testing.T) {
	t.Helper()
	end := pgtest.Value[string](t, r.DB, "select pg_current_wal_insert_lsn()::text")
	on := pgtest.Conn(t, r.standby.PostgresURL)
	pgtest.Eventually(t, patience, func() bool {
		return ask(t, on, `select (pg_last_wal_replay_lsn() >= '`+end+`')::text`) == "true"
	}, "the standby has all of it")
	r.loseThePrimary(t)
}

// loseThePrimary promotes the standby with what it has.
func (r *replicaSet) loseThePrimary(t *testing.T) {
	t.Helper()
	if err := r.primary.KillPostgres(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.primary.StartPostgres(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := r.standby.PromotePostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	// It would wait, with all that is streamed, for a standby of its own.
	on := pgtest.Conn(t, r.standby.PostgresURL)
	for _, sql := range []string{"alter system reset synchronized_standby_slots", "select pg_reload_conf()"} {
		if _, err := on.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFailover: a promoted standby goes on where the primary was. What was committed
// before the fork keeps its epoch, also where it is streamed again.
func TestFailover(t *testing.T) {
	r := newReplicaSet(t)
	s := r.open(t)
	first := follow(t, s)
	r.insert(t, 1, 100, "a")
	before := first.await(100)
	r.synced(t)
	first.mustStop()
	s.Close()
	r.insert(t, 101, 150, "a")
	r.failOver(t)

	r.config.URL = r.other
	s = r.open(t)
	eras := s.Unsettled()
	if len(eras) != 1 || eras[0].Timeline != 2 || eras[0].Epoch != 0 || len(s.Eras()) != 2 {
		t.Fatalf("eras %+v, not settled %+v", s.Eras(), eras)
	}
	if err := s.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "before Settle") {
		t.Errorf("Run: %v", err)
	}
	s.Close()
	s = r.open(t)
	if err := s.Settle(t.Context(), 4); err != nil { // some topic has seen epoch 4
		t.Fatal(err)
	}
	if s.Epoch() != 5 || len(s.Unsettled()) != 0 {
		t.Fatalf("epoch %d, not settled %+v", s.Epoch(), s.Unsettled())
	}
	next := follow(t, s)
	conn := pgtest.Conn(t, onServer(t, r.URL(), r.standby.PostgresURL))
	if _, err := conn.Exec(t.Context(), insertSQL, 151, 160, "a"); err != nil {
		t.Fatal(err)
	}
	next.await(60) // 50 of them from before the fork
	next.mustStop()
	begin := eras[0].Begin
	seen := make(map[string]row)
	for _, e := range slices.Concat(before, next.received()) {
		if was, ok := seen[e.payload]; ok && was.at != e.at {
			t.Errorf("%s was at %s and is at %s", e.payload, was.at, e.at)
		}
		seen[e.payload] = e
		if want := map[bool]uint32{true: 1, false: 5}[e.at.LSN < begin]; e.at.Epoch != want {
			t.Errorf("%s at %s, want epoch %d", e.payload, e.at, want)
		}
	}
	if len(seen) != 160 || seen[`{"n": 150}`].at.Epoch != 1 || seen[`{"n": 151}`].at.Epoch != 5 {
		t.Errorf("%d events; the last before the fork at %s, the first after it at %s", len(seen), seen[`{"n": 150}`].at, seen[`{"n": 151}`].at)
	}

	// The next start knows all of it; and the former primary is refused nothing yet: its
	// own record is its own history's. What the topics hold tells (EPOCH_AHEAD).
	s.Close()
	s = r.open(t)
	if len(s.Unsettled()) != 0 || s.Epoch() != 5 {
		t.Errorf("opened again: epoch %d, not settled %+v", s.Epoch(), s.Unsettled())
	}
}

func TestLineage(t *testing.T) {
	l := lineage{{Epoch: 1, Begin: 100}, {Epoch: 4, Begin: 200}, {Epoch: 5, Begin: 300}}
	for lsn, want := range map[uint64]uint32{0: 1, 99: 1, 100: 1, 199: 1, 200: 4, 299: 4, 300: 5, 1 << 60: 5} {
		if got := l.at(lsn); got != want {
			t.Errorf("%d is of epoch %d, want %d", lsn, got, want)
		}
	}
}

func TestParseTimelineHistory(t *testing.T) {
	got, err := parseTimelineHistory([]byte("# a comment\n1\t0/3000158\tno recovery target specified\n\n2\t1/40\tbefore 2026-11-22\n"))
	if want := []parent{{1, 0x3000158}, {2, 1<<32 + 0x40}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"1", "x\t0/1\t", "1\t0\t", "0\t0/1\t", "2\t0/1\t\n1\t0/2\t", "1\t0/5\t\n2\t0/4\t", "1\t0/1\t\n1\t0/2\t"} {
		if _, err := parseTimelineHistory([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzTimelineHistory(f *testing.F) {
	f.Add([]byte("1\t0/3000158\tno recovery target specified\n2\t1/40\t\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		all, err := parseTimelineHistory(content)
		if err != nil {
			return
		}
		if !slices.IsSortedFunc(all, func(a, b parent) int { return int(a.timeline - b.timeline) }) {
			t.Errorf("%v", all)
		}
	})
}

func ask(t *testing.T, on *pgx.Conn, sql string) (text string) {
	t.Helper()
	if err := on.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}
