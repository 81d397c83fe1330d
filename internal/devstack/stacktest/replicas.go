package stacktest

import (
	"context"
	"net/url"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/devstack"
)

// Replicas are a Postgres and a standby of it, which takes over its slots for failover.
// What the primary's slots stream waits until the standby has it.
type Replicas struct {
	Primary, Standby *devstack.Stack
	t                testing.TB
	patience         time.Duration
}

// standbySlot is the physical slot that the standby streams through.
const standbySlot = "standby"

// NewReplicas starts both. Slots survive a failover from Postgres 17 on: with an older
// one the test is skipped.
func NewReplicas(t testing.TB, major int) *Replicas {
	t.Helper()
	if major < 17 {
		t.Skip("slots survive a failover from Postgres 17 on")
	}
	r := &Replicas{t: t, patience: time.Minute}
	r.Primary = Up(t, devstack.Options{Postgres: true, PGVersion: strconv.Itoa(major)})
	r.addStandby()
	return r
}

// addStandby makes a standby of the primary, which is stopped for a moment.
func (r *Replicas) addStandby() {
	r.t.Helper()
	r.onPrimary("select pg_create_physical_replication_slot('" + standbySlot + "')")
	dir := r.t.TempDir()
	if err := r.Primary.PrepareStandby(r.t.Context(), dir, standbySlot); err != nil {
		r.t.Fatal(err)
	}
	// After the copy: the standby would wait, as the primary, for a standby of its own.
	r.onPrimary("alter system set synchronized_standby_slots = '"+standbySlot+"'", "select pg_reload_conf()")
	r.Standby = Up(r.t, devstack.Options{Postgres: true, Dir: dir})
}

// Follow makes the server that took over the primary, with a standby of its own.
func (r *Replicas) Follow() {
	r.t.Helper()
	r.Primary = r.Standby
	r.addStandby()
}

// OnStandby returns an address of the primary's databases as one of the standby's.
func (r *Replicas) OnStandby(address string) string {
	r.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		r.t.Fatal(err)
	}
	at, err := url.Parse(r.Standby.PostgresURL)
	if err != nil {
		r.t.Fatal(err)
	}
	u.Host = at.Host
	return u.String()
}

// AwaitSlot waits until the standby has a slot. It takes it over once the slot has moved
// on, so it is to be in use.
func (r *Replicas) AwaitSlot(slot string) {
	r.t.Helper()
	r.await("the standby has the slot", func() bool {
		r.onPrimary("select pg_log_standby_snapshot()")
		return ask(r.t, r.Standby, `select exists (select from pg_replication_slots where slot_name = '`+slot+`' and synced and not temporary)::text`) == "true"
	})
}

// AwaitAll waits until the standby has all that the primary has.
func (r *Replicas) AwaitAll() {
	r.t.Helper()
	end := ask(r.t, r.Primary, "select pg_current_wal_insert_lsn()::text")
	r.await("the standby has all of it", func() bool {
		return ask(r.t, r.Standby, `select (pg_last_wal_replay_lsn() >= '`+end+`')::text`) == "true"
	})
}

// Cut ends the replication: what is committed from now on, the standby does not have, and
// the primary's slots stream it all the same.
func (r *Replicas) Cut() {
	r.t.Helper()
	r.onPrimary("alter system reset synchronized_standby_slots", "select pg_reload_conf()")
	run(r.t, r.Standby, "alter system set primary_conninfo = ''", "select pg_reload_conf()")
	r.await("the standby has lost the primary", func() bool {
		return ask(r.t, r.Standby, "select count(*)::text from pg_stat_wal_receiver") == "0"
	})
}

// Promote kills the primary and makes the standby the primary. The former one is started
// again at the end of the test, so that what the test made there can be removed.
func (r *Replicas) Promote() {
	r.t.Helper()
	former := r.Primary
	if err := former.KillPostgres(); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { r.returned(former) })
	if err := r.Standby.PromotePostgres(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// ReturnFormer starts the former primary again, if it is down: as a primary still.
func (r *Replicas) ReturnFormer() {
	r.t.Helper()
	r.returned(r.Primary)
}

func (r *Replicas) returned(former *devstack.Stack) {
	r.t.Helper()
	if slices.ContainsFunc(former.Servers(), func(s devstack.Server) bool { return s.Running }) {
		return
	}
	if err := former.StartPostgres(context.Background()); err != nil {
		r.t.Error(err)
	}
}

func (r *Replicas) onPrimary(sql ...string) {
	r.t.Helper()
	run(r.t, r.Primary, sql...)
}

func (r *Replicas) await(what string, done func() bool) {
	r.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(r.patience); !done(); <-tick.C {
		if time.Now().After(limit) {
			r.t.Fatalf("not within %s: %s; slots there: %s", r.patience, what, ask(r.t, r.Standby, "select coalesce(jsonb_agg(s), '[]')::text from pg_replication_slots s"))
		}
	}
}

func run(t testing.TB, s *devstack.Stack, sql ...string) {
	t.Helper()
	on(t, s, func(conn *pgx.Conn) error {
		for _, q := range sql {
			if _, err := conn.Exec(t.Context(), q); err != nil {
				return err
			}
		}
		return nil
	})
}

// ask returns the one value of a query.
func ask(t testing.TB, s *devstack.Stack, query string) (value string) {
	t.Helper()
	on(t, s, func(conn *pgx.Conn) error { return conn.QueryRow(t.Context(), query).Scan(&value) })
	return value
}

func on(t testing.TB, s *devstack.Stack, do func(*pgx.Conn) error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := do(conn); err != nil {
		t.Fatal(err)
	}
}
