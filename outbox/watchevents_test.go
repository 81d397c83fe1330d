package outbox_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

const watchItems = "select runnel.watch('app.items', aggregate => 'item', key => 'id')"

func TestWatch(t *testing.T) {
	t.Parallel()
	s := newShop(t, "create table items (id int primary key, name text not null, note text); insert into items values (0, 'before', null)")
	s.run(t, watchItems)
	s.expect(t) // existing rows come on request
	s.run(t, "insert into items values (1, 'a', null), (2, E'b\"\\\\\\n', 'x')")
	s.run(t, "update items set note = 'y' where id > 0")
	s.run(t, "delete from items where id = 1")
	s.run(t, "update items set name = name where id = 2")
	s.run(t, "update items set id = 3 where id = 2")
	s.expect(t,
		`ItemChanged 1 {"operation":"INSERT","row":{"id":1,"name":"a","note":null}}`,
		`ItemChanged 2 {"operation":"INSERT","row":{"id":2,"name":"b\"\\\n","note":"x"}}`,
		`ItemChanged 1 {"operation":"UPDATE","row":{"id":1,"name":"a","note":"y"}}`,
		`ItemChanged 2 {"operation":"UPDATE","row":{"id":2,"name":"b\"\\\n","note":"y"}}`,
		`ItemDeleted 1 {"key":{"id":1}}`,
		`ItemChanged 2 {"operation":"UPDATE","row":{"id":2,"name":"b\"\\\n","note":"y"}}`,
		`ItemDeleted 2 {"key":{"id":2}}`,
		`ItemChanged 3 {"operation":"UPDATE","row":{"id":3,"name":"b\"\\\n","note":"y"}}`)

	// In order with events written by hand; what is rolled back is not there.
	s.run(t, `begin;
		insert into items values (4, 'four', null);
		select runnel.publish('item', '4', 'ItemPraised', '{}');
		savepoint s; update items set name = 'lost' where id = 4; rollback to s;
		update items set name = 'kept' where id = 4;
		commit;
		begin; delete from items; rollback`)
	s.expect(t,
		`ItemChanged 4 {"operation":"INSERT","row":{"id":4,"name":"four","note":null}}`,
		`ItemPraised 4 {}`,
		`ItemChanged 4 {"operation":"UPDATE","row":{"id":4,"name":"kept","note":null}}`)

	s.run(t, "select runnel.unwatch('app.items')")
	s.run(t, "delete from items")
	s.expect(t)
	if pgtest.Value[int](t, s.DB, `select count(*) from pg_proc where pronamespace = 'runnel'::regnamespace and proname like 'watch\_items%'`) != 0 ||
		pgtest.Value[bool](t, s.DB, "select has_any_column_privilege($1, 'app.items', 'SELECT')", s.roles.Reader()) {
		t.Error("unwatch left its function or its grants behind")
	}
	if pgtest.Value[bool](t, s.DB, "select runnel.unwatch('app.items')") {
		t.Error("unwatched twice")
	}
	s.run(t, watchItems) // and again
}

// Statements of all kinds, and what triggers and generated columns make of them.
func TestWatchStatements(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table items (id int primary key, name text, loud text generated always as (upper(name)) stored);
		create function tidy() returns trigger language plpgsql as $$ begin new.name := trim(new.name); return new; end $$;
		create trigger tidy before insert or update on items for each row execute function tidy()`)
	s.run(t, watchItems)
	if _, err := s.conn.CopyFrom(t.Context(), pgx.Identifier{"items"}, []string{"id", "name"}, pgx.CopyFromRows([][]any{{1, " one"}, {2, "two "}})); err != nil {
		t.Fatal(err)
	}
	s.run(t, "insert into items values (2, 'zwei'), (3, 'drei') on conflict (id) do update set name = excluded.name")
	s.run(t, `merge into items i using (values (1), (2), (4)) v(id) on v.id = i.id
		when matched and v.id = 1 then delete when matched then update set name = 'merged' when not matched then insert values (v.id, 'new')`)
	s.run(t, "with gone as (delete from items where id = 4 returning *) insert into items (id, name) select id + 1, name from gone")
	s.expect(t,
		`ItemChanged 1 {"operation":"INSERT","row":{"id":1,"name":"one","loud":"ONE"}}`,
		`ItemChanged 2 {"operation":"INSERT","row":{"id":2,"name":"two","loud":"TWO"}}`,
		`ItemChanged 2 {"operation":"UPDATE","row":{"id":2,"name":"zwei","loud":"ZWEI"}}`,
		`ItemChanged 3 {"operation":"INSERT","row":{"id":3,"name":"drei","loud":"DREI"}}`,
		`ItemDeleted 1 {"key":{"id":1}}`,
		`ItemChanged 2 {"operation":"UPDATE","row":{"id":2,"name":"merged","loud":"MERGED"}}`,
		`ItemChanged 4 {"operation":"INSERT","row":{"id":4,"name":"new","loud":"NEW"}}`,
		`ItemDeleted 4 {"key":{"id":4}}`,
		`ItemChanged 5 {"operation":"INSERT","row":{"id":5,"name":"new","loud":"NEW"}}`)
	s.run(t, "cluster items using items_pkey; truncate items")
	s.expect(t, `ItemDeleted 2 {"key":{"id":2}}`, `ItemDeleted 3 {"key":{"id":3}}`, `ItemDeleted 5 {"key":{"id":5}}`)

	// Under session_replication_role = replica too (subscriptions, restores).
	s.Exec(t, "begin; set local session_replication_role = replica; insert into app.items values (6, 'six'); truncate app.items; commit")
	s.expect(t, `ItemChanged 6 {"operation":"INSERT","row":{"id":6,"name":"six","loud":"SIX"}}`, `ItemDeleted 6 {"key":{"id":6}}`)
}

// Rows that foreign keys take along are changes as all others.
func TestWatchCascades(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table orders (id int primary key); create table lines (n int primary key, "order" int references orders on delete cascade on update cascade)`)
	s.run(t, "select runnel.watch('orders', 'order'), runnel.watch('lines', 'line')")
	s.run(t, "insert into orders values (1), (2); insert into lines values (10, 1), (20, 2)")
	s.changes(t)
	s.run(t, "update orders set id = 3 where id = 1; delete from orders where id = 2")
	s.run(t, "truncate orders cascade")
	got := map[string]int{}
	for _, c := range s.changes(t) {
		got[c.String()]++
	}
	want := map[string]int{
		`OrderDeleted 1 {"key":{"id":1}}`: 1, `OrderChanged 3 {"operation":"UPDATE","row":{"id":3}}`: 1,
		`LineChanged 10 {"operation":"UPDATE","row":{"n":10,"order":3}}`: 1,
		`OrderDeleted 2 {"key":{"id":2}}`:                                1, `LineDeleted 20 {"key":{"n":20}}`: 1,
		`OrderDeleted 3 {"key":{"id":3}}`: 1, `LineDeleted 10 {"key":{"n":10}}`: 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// More columns than a function of Postgres takes arguments.
func TestWatchWide(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	var b strings.Builder
	b.WriteString("create table wide (id int primary key")
	for i := range 500 {
		fmt.Fprintf(&b, ", c%d text", i)
	}
	s.run(t, b.String()+")")
	s.run(t, "select runnel.watch('wide', 'wide', before => true)")
	s.run(t, "insert into wide (id, c499) values (1, 'last'); update wide set c0 = 'first'; alter table wide rename c1 to d1; update wide set c2 = 'more'")
	catalog := s.catalog(t, "wide", outbox.TableOptions{})
	copied := replica{}
	copied.apply(t, catalog, s.changes(t))
	copied.equals(t, s, catalog, "WideChanged", "app.wide", "t.id::text", "to_jsonb(t) - 'd1'")
}

func TestWatchBefore(t *testing.T) {
	t.Parallel()
	s := newShop(t, "create table items (id int primary key, name text not null, due date)")
	s.run(t, "insert into items values (1, 'old', null), (2, 'odd', 'infinity')")
	s.run(t, "select runnel.watch('items', 'item', before => true)")
	s.run(t, "update items set name = 'new' where id = 1; update items set id = 3 where id = 1; delete from items where id = 3; insert into items values (4, 'x')")
	s.run(t, "update items set due = null; delete from items where id = 2; truncate items")
	s.expect(t,
		`ItemChanged 1 {"operation":"UPDATE","row":{"id":1,"name":"new","due":null},"before":{"ItemRow":{"id":1,"name":"old","due":null}}}`,
		`ItemDeleted 1 {"key":{"id":1},"before":{"ItemRow":{"id":1,"name":"new","due":null}}}`,
		`ItemChanged 3 {"operation":"UPDATE","row":{"id":3,"name":"new","due":null},"before":{"ItemRow":{"id":1,"name":"new","due":null}}}`,
		`ItemDeleted 3 {"key":{"id":3},"before":{"ItemRow":{"id":3,"name":"new","due":null}}}`,
		`ItemChanged 4 {"operation":"INSERT","row":{"id":4,"name":"x","due":null}}`,
		// A row from before the watch that Avro could not hold.
		`ItemChanged 2 {"operation":"UPDATE","row":{"id":2,"name":"odd","due":null},"before":null}`,
		`ItemChanged 4 {"operation":"UPDATE","row":{"id":4,"name":"x","due":null},"before":{"ItemRow":{"id":4,"name":"x","due":null}}}`,
		`ItemDeleted 2 {"key":{"id":2},"before":{"ItemRow":{"id":2,"name":"odd","due":null}}}`,
		`ItemDeleted 4 {"key":{"id":4},"before":{"ItemRow":{"id":4,"name":"x","due":null}}}`)
	s.catalog(t, "items", outbox.TableOptions{})
}

// No two keys have one id.
func TestWatchKeys(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table items (a text, b text, n int, at timestamptz, x bytea, primary key (a, b))`)
	s.run(t, `select runnel.watch('items', 'item')`)
	s.run(t, `insert into items values ('a,b', 'c', 1), ('a', 'b,c', 2), ('a\', 'b', 3), ('', '', 4)`)
	for i, want := range []string{`a\,b,c`, `a,b\,c`, `a\\,b`, `,`} {
		if got := pgtest.Values[string](t, s.DB, "select aggregate_id from runnel.outbox order by seq")[i]; got != want {
			t.Errorf("id %q, want %q", got, want)
		}
	}
	s.run(t, "select runnel.unwatch('items'); truncate items")
	s.changes(t)

	// Without a unique index, given by hand; NULL is none.
	var warnings []string
	conn := s.connect(t, func(n *pgconn.Notice) { warnings = append(warnings, n.Message) })
	run(t, conn, "create table log (n int, at timestamptz, x bytea)")
	run(t, conn, "insert into log values (null), (null)")
	run(t, conn, "select runnel.watch('log', 'entry', key => array['n', 'at', 'x'])")
	if len(warnings) != 2 {
		t.Errorf("warnings: %q", warnings)
	}
	run(t, conn, "set timezone = 'Asia/Kathmandu'; set datestyle = 'German'")
	run(t, conn, `insert into log values (7, '2026-01-02 03:04:05.6+00', '\x00ff')`)
	refused(t, conn, "RN008", "column at holds what its events cannot: NULL, in the key", "insert into log values (7, null, '')")
	run(t, conn, "delete from log where n is null") // were never published
	run(t, conn, "update log set n = 8")
	got := s.changes(t)
	if len(got) != 3 || got[0].id != "7,2026-01-02T03:04:05.6Z,00ff" || got[1].id != got[0].id || got[1].typ != "EntryDeleted" || got[2].id != "8,2026-01-02T03:04:05.6Z,00ff" {
		t.Errorf("%v", got)
	}
	refused(t, conn, "RN008", "has 1085 bytes", "insert into log values (7, '2026-01-02 03:04:05.6+00', decode(repeat('00', 530), 'hex'))")
}

// The last event of a key tells its last state, also when statements change the
// table from within its own triggers, or swap keys.
func TestWatchOrderWithinStatements(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table items (id int primary key, parent int, total int not null default 0);
		create function add_up() returns trigger language plpgsql as $$ begin
			update items set total = total + 1 where id = new.parent; return null; end $$;
		create trigger a_first after update of parent on items for each row execute function add_up();
		create table swaps (id int primary key deferrable, name text)`)
	s.run(t, "insert into items values (1), (2), (3)")
	s.run(t, "select runnel.watch('items', 'item'), runnel.watch('swaps', 'swap')")
	catalog := s.catalog(t, "items", outbox.TableOptions{})
	copied := replica{}
	s.run(t, "call runnel.publish_rows('items')")
	s.run(t, "update items set parent = 4 - id") // 1's trigger changes 3, whose own event is yet to come
	s.run(t, "update items set parent = 2 - id % 2, id = id + 10 where id > 2")
	copied.apply(t, catalog, s.changes(t))
	copied.equals(t, s, catalog, "ItemChanged", "app.items", "t.id::text", "to_jsonb(t)")

	catalog = s.catalog(t, "swaps", outbox.TableOptions{})
	copied = replica{}
	s.run(t, "insert into swaps values (1, 'a'), (2, 'b'), (3, 'c')")
	s.run(t, "update swaps set id = 3 - id where id < 3")
	s.run(t, `begin; set constraints all deferred; insert into swaps values (3, 'd'); delete from swaps where name = 'c'; commit`)
	s.run(t, `begin; set constraints all deferred; update swaps set id = 2 where id = 3; update swaps set id = 5 where name = 'a'; commit`)
	copied.apply(t, catalog, s.changes(t))
	copied.equals(t, s, catalog, "SwapChanged", "app.swaps", "t.id::text", "to_jsonb(t)")
	if len(copied) != 3 {
		t.Errorf("%d rows", len(copied))
	}
}

func TestWatchPartitioned(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table items (id int, day date, name text, primary key (id, day)) partition by range (day);
		create table items_a partition of items for values from ('2026-01-01') to ('2026-02-01');
		create table items_b (name text, gone int, day date not null, id int not null);
		alter table items_b drop column gone;
		alter table items attach partition items_b for values from ('2026-02-01') to ('2026-03-01')`)
	s.run(t, "select runnel.watch('items', 'item', key => 'id')")
	s.run(t, "create table items_c partition of items for values from ('2026-03-01') to ('2026-04-01')")
	s.run(t, "create table items_d (id int not null, day date not null, name text); alter table items attach partition items_d for values from ('2026-04-01') to ('2026-05-01')")
	s.run(t, "insert into items values (1, '2026-01-01', 'a'), (2, '2026-02-01', 'b'), (3, '2026-03-01', 'c'), (4, '2026-04-01', 'd')")
	s.run(t, "insert into items_c values (5, '2026-03-02', 'e')")
	s.run(t, "update items set day = '2026-02-02' where id = 1") // to another partition
	s.run(t, "truncate items_b")
	s.run(t, "insert into items_b (id, day, name) values (2, '2026-02-01', 'again')")
	s.run(t, "truncate items")
	s.expect(t,
		`ItemChanged 1 {"operation":"INSERT","row":{"id":1,"day":"2026-01-01","name":"a"}}`,
		`ItemChanged 2 {"operation":"INSERT","row":{"id":2,"day":"2026-02-01","name":"b"}}`,
		`ItemChanged 3 {"operation":"INSERT","row":{"id":3,"day":"2026-03-01","name":"c"}}`,
		`ItemChanged 4 {"operation":"INSERT","row":{"id":4,"day":"2026-04-01","name":"d"}}`,
		`ItemChanged 5 {"operation":"INSERT","row":{"id":5,"day":"2026-03-02","name":"e"}}`,
		`ItemDeleted 1 {"key":{"id":1}}`,
		`ItemChanged 1 {"operation":"INSERT","row":{"id":1,"day":"2026-02-02","name":"a"}}`,
		`ItemDeleted 2 {"key":{"id":2}}`,
		`ItemDeleted 1 {"key":{"id":1}}`,
		`ItemChanged 2 {"operation":"INSERT","row":{"id":2,"day":"2026-02-01","name":"again"}}`,
		`ItemDeleted 3 {"key":{"id":3}}`,
		`ItemDeleted 5 {"key":{"id":5}}`,
		`ItemDeleted 4 {"key":{"id":4}}`,
		`ItemDeleted 2 {"key":{"id":2}}`)
	// Partitions that joined later need their own trigger for a TRUNCATE of theirs.
	tables, err := outbox.WatchedTables(t.Context(), s.conn)
	if err != nil || len(tables) != 1 || len(tables[0].Problems) != 2 || !tables[0].Problems[0].Fatal {
		t.Errorf("%+v, %v", tables, err)
	}
	s.run(t, "select runnel.watch('items')")
	s.run(t, "insert into items values (6, '2026-04-01', 'f'); truncate items_d")
	if got := s.changes(t); len(got) != 2 || got[1].String() != `ItemDeleted 6 {"key":{"id":6}}` {
		t.Errorf("%v", got)
	}
	// Detached, a partition is a table of its own.
	s.run(t, "alter table items detach partition items_d; insert into items_d values (7, '2026-04-01', 'g')")
	s.run(t, "select runnel.unwatch('items'); insert into items values (8, '2026-01-01', 'h'); truncate items")
	for _, c := range s.changes(t) {
		t.Errorf("unwatched, but: %s", c)
	}
}
