package outbox_test

import (
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

// Rows that come by a subscription are published as all others.
func TestWatchSubscription(t *testing.T) {
	t.Parallel()
	source := pgtest.New(t)
	source.Exec(t, "create table public.items (id int primary key, name text); insert into items values (1, 'before'); create publication p for table items")
	source.Exec(t, "select pg_create_logical_replication_slot('"+source.Slot("sub")+"', 'pgoutput')")

	b := newBox(t)
	b.Exec(t, "create table public.items (id int primary key, name text); select runnel.watch('items', 'item')")
	subscription := b.Prefix() + "sub"
	b.Exec(t, "create subscription "+subscription+" connection '"+strings.ReplaceAll(source.URL(), "'", "''")+"' publication p with (create_slot = false, slot_name = '"+source.Slot("sub")+"')")
	defer func() { // a database with a subscription cannot be dropped
		b.Exec(t, "alter subscription "+subscription+" disable")
		b.Exec(t, "alter subscription "+subscription+" set (slot_name = none)")
		b.Exec(t, "drop subscription "+subscription)
	}()
	expect := func(n int) []string {
		t.Helper()
		payloads := func() []string {
			return pgtest.Values[string](t, b.DB, "select event_type || ' ' || convert_from(payload, 'UTF8') from runnel.outbox order by seq")
		}
		pgtest.Eventually(t, time.Minute, func() bool { return len(payloads()) >= n }, "%d events", n)
		return payloads()
	}
	expect(1)
	source.Exec(t, "insert into items values (2, 'b'); update items set name = 'c' where id = 2; delete from items where id = 1")
	source.Exec(t, "truncate items")
	got := strings.Join(expect(5), "\n")
	want := `ItemChanged {"operation":"INSERT","row":{"id":1,"name":"before"}}
ItemChanged {"operation":"INSERT","row":{"id":2,"name":"b"}}
ItemChanged {"operation":"UPDATE","row":{"id":2,"name":"c"}}
ItemDeleted {"key":{"id":1}}
ItemDeleted {"key":{"id":2}}`
	if got != want {
		t.Errorf("got:\n%s", got)
	}
}

// An installation of the version before, with events in it, becomes one with
// watched tables; its rows and partitions stay.
func TestUpgradeToWatchedTables(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	roles := testRoles(db)
	conn := db.Conn(t)
	all, err := outbox.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	run(t, conn, "create role "+roles.Owner+"; create schema runnel authorization "+roles.Owner+"; set role "+roles.Owner)
	for _, m := range all[:4] {
		run(t, conn, m.SQL)
		run(t, conn, "insert into runnel.schema_version (version, name) values ($1, $2)", m.Version, m.Name)
	}
	run(t, conn, "insert into runnel.event_type values ('OrderPlaced', 'order', sha256(''))")
	run(t, conn, "insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload, inserted_at) values ('order', '1', 'OrderPlaced', 2, '{}', now() - interval '3 days'), ('order', '2', 'OrderPlaced', 2, '{}', now())")
	run(t, conn, "reset role")
	report, err := outbox.Init(t.Context(), conn, outbox.InitOptions{Roles: roles})
	if err != nil || !report.Changed() {
		t.Fatalf("%+v, %v", report, err)
	}
	run(t, conn, "create table items (id int primary key); select runnel.watch('items', 'item', check_schema => false)")
	refused(t, conn, "RN001", `event type "ItemChanged" of aggregate type "item" is not registered`, "insert into items values (1)")
	run(t, conn, "insert into runnel.event_type values ('ItemChanged', 'item', sha256('')), ('ItemDeleted', 'item', sha256(''))")
	run(t, conn, "insert into items values (1)")
	if got := pgtest.Values[string](t, db, "select event_type from runnel.outbox order by seq"); strings.Join(got, " ") != "OrderPlaced OrderPlaced ItemChanged" {
		t.Errorf("%v", got)
	}
	if again, err := outbox.Init(t.Context(), conn, outbox.InitOptions{Roles: roles}); err != nil || again.Changed() {
		t.Errorf("%+v, %v", again, err)
	}
}
