package pgtest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFreshDatabase(t *testing.T) {
	a, b := New(t), New(t)
	a.Exec(t, "create table x (n int); insert into x values (1), (2)")
	if got := Value[string](t, a, "select current_database()::text"); got != a.Name() {
		t.Fatalf("connected to %s, want %s", got, a.Name())
	}
	if got := Values[int](t, a, "select n from x order by n"); len(got) != 2 || got[1] != 2 {
		t.Fatalf("got %v", got)
	}
	if Value[bool](t, b, "select to_regclass('x') is not null") {
		t.Fatal("the other database sees the table")
	}
	var one int
	if err := a.Pool(t).QueryRow(context.Background(), "select 1").Scan(&one); err != nil || one != 1 {
		t.Fatalf("pool: %v", err)
	}
}

// TestDropsEverything leaves what hinders a DROP DATABASE: an open session, a
// slot in use, and a role that owns a table.
func TestDropsEverything(t *testing.T) {
	var name, prefix string
	t.Run("inner", func(t *testing.T) {
		db := New(t)
		name, prefix = db.Name(), db.Prefix()
		roleURL := db.CreateRole(t, "owner", "replication")
		db.Exec(t, "grant create on schema public to "+db.Role("owner"))
		owner := Conn(t, roleURL)
		if _, err := owner.Exec(context.Background(), "create table public.mine ()"); err != nil {
			t.Fatal(err)
		}
		db.Exec(t, "create publication p for table public.mine")
		db.Exec(t, "select pg_create_logical_replication_slot('"+db.Slot("s")+"', 'pgoutput')")
		hold(t, roleURL, db.Slot("s"))
		if got := Value[int](t, db, "select count(*) from pg_replication_slots where slot_name = $1 and active", db.Slot("s")); got != 1 {
			t.Fatal("the slot is not in use")
		}
	})
	ctx := context.Background()
	conn := Conn(t, URL(t))
	var left int
	if err := conn.QueryRow(ctx, `select (select count(*) from pg_database where datname = $1)
		+ (select count(*) from pg_roles where starts_with(rolname, $2))
		+ (select count(*) from pg_replication_slots where starts_with(slot_name, $2))`, name, prefix).Scan(&left); err != nil {
		t.Fatal(err)
	}
	if left != 0 {
		t.Fatalf("%d things left behind", left)
	}
}

// hold starts streaming from slot on a connection that stays open.
func hold(t *testing.T, rawURL, slot string) {
	t.Helper()
	config, err := pgconn.ParseConfig(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	config.RuntimeParams["replication"] = "database"
	ctx := context.Background()
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(ctx) })
	conn.Frontend().SendQuery(query("START_REPLICATION SLOT " + pgx.Identifier{slot}.Sanitize() +
		" LOGICAL 0/0 (proto_version '1', publication_names 'p')"))
	if err := conn.Frontend().Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ReceiveMessage(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestURLAs(t *testing.T) {
	db := New(t)
	got := db.URLAs("someone", "p@ss/word")
	if !strings.Contains(got, "someone:p%40ss%2Fword@") || !strings.Contains(got, "/"+db.Name()) {
		t.Fatalf("got %s", got)
	}
	if got := db.URLAs("someone"); strings.Contains(got, "someone:") {
		t.Fatalf("a password out of nowhere: %s", got)
	}
}

func TestEventually(t *testing.T) {
	calls := 0
	Eventually(t, time.Minute, func() bool { calls++; return calls == 3 })
	if calls != 3 {
		t.Fatalf("%d calls, want 3", calls)
	}
}

func TestEventuallyGivesUp(t *testing.T) {
	r := &failure{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		Eventually(r, time.Millisecond, func() bool { return false }, "state %s of %d", func() string { return "late" }, 7)
	}()
	<-done
	if want := "not within 1ms: state late of 7"; r.text != want {
		t.Fatalf("got %q, want %q", r.text, want)
	}
}
