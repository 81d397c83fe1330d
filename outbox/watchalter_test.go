package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

const alteredDDL = `drop table if exists items, things; drop type if exists mood; create type mood as enum ('sad', 'happy');
	create table items (id int primary key, name text not null, note varchar(20), price numeric(6,2), mood mood, count int, at timestamptz, hidden text);
	select runnel.watch('items', 'item', exclude => array['hidden']);`

// Each ALTER TABLE: what the trigger makes of it in a session that has used the
// table before and in a new one, what the doctor says, and that calling
// runnel.watch again is the end of it.
func TestAlter(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	const base = `"id":1,"name":"a"`
	for _, c := range []struct {
		name, alter string
		write       string // after it
		row         string // "": refused
		warning     string // "": none
		fatal       bool
		problem     string
		after       string // the row once it is watched again
	}{
		{name: "add", alter: "add extra int not null default 5, add more text[]", write: "update items set note = 'n'",
			row: base + `,"note":"n","price":null,"mood":null,"count":7,"at":null`, warning: "column extra has joined and is not in the events; column more has joined",
			fatal: true, problem: `ItemRow needs {"name":"extra","type":["null","int"],"default":null}`,
			after: base + `,"note":"n","price":null,"mood":null,"count":7,"at":null,"extra":5,"more":null`},
		{name: "drop nullable", alter: "drop note", write: "update items set name = 'a'",
			row: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`, warning: "column note is gone, and field note is null from now on",
			problem: "column note is gone", after: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`},
		{name: "drop not null column", alter: "drop name", write: "update items set note = 'n'",
			warning: "column name is gone, and field name cannot be null", fatal: true, problem: "cannot be null",
			after: `"id":1,"name":null,"note":null,"price":null,"mood":null,"count":7,"at":null`},
		{name: "drop excluded", alter: "drop hidden", write: "update items set name = 'a'",
			row: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`, after: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`},
		{name: "rename excluded", alter: "rename hidden to secret", write: "update items set secret = 's'",
			row: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`, after: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`},
		{name: "rename", alter: "rename name to title", write: "update items set title = 'b'",
			row: `"id":1,"name":"b","note":null,"price":null,"mood":null,"count":7,"at":null`, warning: "column name is called title now; its field stays name",
			problem: "called title", after: `"id":1,"name":"b","note":null,"price":null,"mood":null,"count":7,"at":null`},
		{name: "rename key", alter: "rename id to item_id", write: "update items set item_id = 2",
			row: `"id":2,"name":"a","note":null,"price":null,"mood":null,"count":7,"at":null`, warning: "called item_id",
			problem: "called item_id", after: `"id":2,"name":"a","note":null,"price":null,"mood":null,"count":7,"at":null`},
		{name: "rename table", alter: "rename to things", write: "update things set note = 'n'",
			row: base + `,"note":"n","price":null,"mood":null,"count":7,"at":null`, warning: "the table was called app.items",
			problem: "the table was called app.items", after: base + `,"note":"n","price":null,"mood":null,"count":7,"at":null`},
		{name: "longer", alter: "alter note type varchar(40)", write: "update items set note = repeat('n', 22)",
			row:   base + `,"note":"nnnnnnnnnnnnnnnnnnnnnn","price":null,"mood":null,"count":7,"at":null`,
			after: base + `,"note":"nnnnnnnnnnnnnnnnnnnnnn","price":null,"mood":null,"count":7,"at":null`},
		{name: "same in Avro", alter: "alter note type text", write: "update items set note = repeat('n', 22)",
			row: base + `,"note":"nnnnnnnnnnnnnnnnnnnnnn","price":null,"mood":null,"count":7,"at":null`, warning: "which is the same in the events",
			problem: "the same in the events", after: base + `,"note":"nnnnnnnnnnnnnnnnnnnnnn","price":null,"mood":null,"count":7,"at":null`},
		{name: "wider, fits", alter: "alter count type bigint, alter price type numeric(12,4)", write: "update items set price = 1.5",
			row: base + `,"note":null,"price":1.5000,"mood":null,"count":7,"at":null`, warning: "column price is of another precision now",
			fatal: true, problem: "numbers", after: base + `,"note":null,"price":1.5000,"mood":null,"count":7,"at":null`},
		{name: "wider, does not fit", alter: "alter count type bigint", write: "update items set count = 3000000000",
			warning: "a number beyond the 32 bits of its field", fatal: true, problem: "column count is wider now",
			after: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`},
		{name: "more digits, does not fit", alter: "alter price type numeric(12,4)", write: "update items set price = 1.501",
			warning: "a number that decimal(6,2) does not hold", fatal: true, problem: "numbers that decimal(6,2) does not hold are refused",
			after: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`},
		{name: "other type", alter: "alter at type timestamp", write: "update items set note = 'n'",
			warning: "column at is of another type now", fatal: true, problem: "local-timestamp-micros",
			after: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`},
		{name: "no Avro type", alter: "alter price type numeric", write: "update items set note = 'n'",
			warning: "column price cannot be published any more: numeric without a precision", fatal: true, problem: "precision"},
		{name: "not null dropped, not used", alter: "alter name drop not null", write: "update items set note = 'n'",
			row: base + `,"note":"n","price":null,"mood":null,"count":7,"at":null`, warning: "column name may be NULL now", fatal: true, problem: "may be NULL",
			after: base + `,"note":"n","price":null,"mood":null,"count":7,"at":null`},
		{name: "not null dropped, used", alter: "alter name drop not null", write: "update items set name = null",
			warning: "column name holds what its events cannot: NULL", fatal: true, problem: "may be NULL",
			after: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`},
		{name: "label", alter: "add check (true); alter type mood add value 'mad'", write: "update items set mood = 'sad'",
			row: base + `,"note":null,"price":null,"mood":"sad","count":7,"at":null`, fatal: true, problem: "other labels",
			after: base + `,"note":null,"price":null,"mood":"sad","count":7,"at":null`},
		{name: "new label used", alter: "add check (true); alter type mood add value 'mad'", write: "update items set mood = 'mad'",
			warning: "a label that its schema does not have", fatal: true, problem: "other labels",
			after: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`},
		{name: "label renamed", alter: "add check (true); alter type mood rename value 'sad' to 'blue'", write: "update items set mood = 'blue'",
			warning: "a label that its schema does not have", fatal: true, problem: "other labels",
			after: base + `,"note":null,"price":null,"mood":null,"count":7,"at":null`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.run(t, alteredDDL+"insert into items (id, name, count) values (1, 'a', 7)")
			var warnings []string
			used := s.connect(t, func(n *pgconn.Notice) { warnings = append(warnings, n.Message+" "+n.Hint) })
			run(t, used, "update items set name = name")
			alter := "alter table items " + c.alter
			for _, sql := range strings.Split(alter, ";") {
				run(t, used, sql)
			}
			s.changes(t)
			for _, conn := range []interface {
				Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
			}{used, s.connect(t, nil)} {
				_, err := conn.Exec(t.Context(), c.write)
				if c.row == "" {
					if f := outbox.Explain(err); !errors.Is(f, outbox.ErrTableAltered) && !errors.Is(f, outbox.ErrRowRefused) || !strings.Contains(err.Error(), c.warning) {
						t.Errorf("%v, want %q", err, c.warning)
					}
					continue
				}
				if err != nil {
					t.Error(err)
				}
				if got := s.changes(t); len(got) == 0 || got[len(got)-1].payload != `{"operation":"UPDATE","row":{`+c.row+`}}` {
					t.Errorf("%v", got)
				}
			}
			if c.row != "" && (len(warnings) > 0) != (c.warning != "") || c.row != "" && c.warning != "" && !strings.Contains(warnings[0], c.warning) {
				t.Errorf("warnings: %q, want %q", warnings, c.warning)
			}
			if c.row != "" { // once in a session
				n := len(warnings)
				run(t, used, c.write)
				if len(warnings) != n {
					t.Errorf("warned again: %q", warnings[n:])
				}
			}
			tables, err := outbox.WatchedTables(t.Context(), s.conn)
			if err != nil || len(tables) != 1 {
				t.Fatalf("%+v, %v", tables, err)
			}
			var fatal bool
			var text string
			for _, p := range tables[0].Problems {
				fatal, text = fatal || p.Fatal, text+p.Message+"\n"+p.Remedy+"\n"
				if !errors.Is(p.Err(), outbox.ErrTableAltered) {
					t.Error(p.Err())
				}
			}
			if fatal != c.fatal || !strings.Contains(text, c.problem) || (text == "") != (c.problem == "") {
				t.Errorf("problems: %s", text)
			}

			if c.after == "" {
				refused(t, used, "RN007", "exclude", "select runnel.watch($1::regclass)", tables[0].Name)
				return
			}
			run(t, used, "select runnel.watch('"+tables[0].Name+"')")
			s.changes(t)
			run(t, used, "update "+tables[0].Name+" set count = count")
			if got := s.changes(t); len(got) != 1 || got[0].payload != `{"operation":"UPDATE","row":{`+c.after+`}}` {
				t.Errorf("%v", got)
			}
			if tables, err = outbox.WatchedTables(t.Context(), s.conn); err != nil || len(tables[0].Problems) > 0 {
				t.Errorf("%+v, %v", tables, err)
			}
			replica{}.apply(t, s.catalog(t, tables[0].Name, outbox.TableOptions{}), []change{{"item", "1", "ItemChanged", `{"operation":"UPDATE","row":{` + c.after + `}}`}})
			if c.row != "" { // rows that are under way fit the new schema
				replica{}.apply(t, s.catalog(t, tables[0].Name, outbox.TableOptions{}), []change{{"item", "1", "ItemChanged", `{"operation":"UPDATE","row":{` + c.row + `}}`}})
			}
		})
	}
}

// The slow way, taken while a column is renamed, does all that the short one does.
func TestAlterSlowly(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table items (id int primary key, parent int, n int not null default 0);
		create function touch() returns trigger language plpgsql as $$ begin update items set total = total + 1 where id = new.parent; return null; end $$;
		create trigger a_touch after update of parent on items for each row execute function touch();
		select runnel.watch('items', 'item', before => true);
		insert into items values (1), (2), (3), (4)`)
	s.run(t, "alter table items rename n to total; alter table items rename to things; alter function touch() rename to x")
	s.run(t, `create or replace function x() returns trigger language plpgsql as $$ begin update things set total = total + 1 where id = new.parent; return null; end $$`)
	s.run(t, "update things set parent = 4 - id where id < 4; update things set id = 9 where id = 1; delete from things where id = 2; truncate things; insert into things values (5)")
	catalog := s.catalog(t, "things", outbox.TableOptions{})
	copied := replica{}
	got := s.changes(t)
	copied.apply(t, catalog, got)
	copied.equals(t, s, catalog, "ItemChanged", "app.things", "t.id::text", "to_jsonb(t) - 'total' || jsonb_build_object('n', total)")
	if len(copied) != 1 || !strings.Contains(got[len(got)-2].payload, `"before":{"ItemRow":{"id":`) {
		t.Errorf("%v", got)
	}
}

// Altered and written in one transaction, and in one that reads an old snapshot:
// the trigger goes by what the table is, not by what the session knows of it.
func TestAlterWithinTransaction(t *testing.T) {
	t.Parallel()
	s := newShop(t, alteredDDL+"insert into items (id, name) values (1, 'a')")
	s.run(t, `begin; update items set name = 'b'; alter table items rename note to remark; alter table items drop price;
		update items set remark = 'x'; alter table items rename remark to note; update items set note = 'y'; rollback`)
	s.run(t, `begin; update items set name = 'b'; alter table items drop count; update items set note = 'x'; commit`)
	s.run(t, "do $$ begin update items set name = 'c'; alter table items drop at; update items set name = 'd'; end $$")
	got := s.changes(t)
	if last := got[len(got)-1].payload; last != `{"operation":"UPDATE","row":{"id":1,"name":"d","note":"x","price":null,"mood":null,"count":null,"at":null}}` || len(got) != 5 {
		t.Errorf("%v", got)
	}

	old := s.connect(t, nil)
	run(t, old, "begin isolation level repeatable read; select 1")
	s.run(t, "alter table items rename name to title; select runnel.watch('items')")
	if _, err := old.Exec(t.Context(), "insert into items (id, title) values (2, 'x')"); err != nil {
		run(t, old, "rollback") // it may fail, but the session must not remember
	} else {
		run(t, old, "commit")
	}
	s.changes(t)
	for _, level := range []string{"read committed", "repeatable read", "serializable", "read committed"} {
		run(t, old, "begin isolation level "+level+"; insert into items (id, title) values (3, 'y'); delete from items where id = 3; commit")
		if got := s.changes(t); len(got) != 2 || got[0].payload != `{"operation":"INSERT","row":{"id":3,"name":"y","note":null,"price":null,"mood":null,"count":null,"at":null}}` {
			t.Errorf("%s: %v", level, got)
		}
	}
}

// Restored from a dump, tables have other oids, and columns other numbers: they are
// known by their names until runnel.watch is called.
func TestWatchRestored(t *testing.T) {
	t.Parallel()
	s := newShop(t, alteredDDL+"insert into items (id, name, hidden) values (1, 'a', 'h')")
	s.Exec(t, `alter table runnel.watched disable trigger all; update runnel.watched set relid = 1, hidden = '{3}',
		fields = (select jsonb_agg(jsonb_set(f, '{attnum}', to_jsonb((f ->> 'attnum')::int + 1))) from jsonb_array_elements(fields) f), signature = replace(signature, ' 1:', ' 2:')`)
	body := pgtest.Value[string](t, s.DB, "select replace(pg_get_functiondef(p.oid), 'app.items'::regclass::oid::text, '1') from pg_proc p join runnel.watched w on w.function = p.proname")
	s.Exec(t, body)
	s.Exec(t, "alter table runnel.watched enable trigger all")
	const want = `ItemChanged 1 {"operation":"UPDATE","row":{"id":1,"name":"b","note":null,"price":null,"mood":null,"count":null,"at":null}}`
	s.changes(t)
	s.run(t, "update items set name = 'b'")
	s.expect(t, want)
	tables, err := outbox.WatchedTables(t.Context(), s.conn)
	if err != nil || len(tables[0].Problems) != 1 || tables[0].Problems[0].Fatal || !strings.Contains(tables[0].Problems[0].Message, "restored from a dump") {
		t.Fatalf("%+v, %v", tables, err)
	}
	s.run(t, tables[0].Problems[0].Remedy)
	s.run(t, "update items set name = 'b'")
	s.expect(t, want)
	if tables, err = outbox.WatchedTables(t.Context(), s.conn); err != nil || len(tables[0].Problems) > 0 || strings.Join(tables[0].Exclude, " ") != "hidden" {
		t.Errorf("%+v, %v", tables, err)
	}
}

// Altered under load: no event is lost or poison, whatever sessions have cached.
func TestAlterUnderLoad(t *testing.T) {
	t.Parallel()
	s := newShop(t, "create table items (id int primary key, n int not null, note text); insert into items select i, 0, null from generate_series(1, 20) i")
	s.run(t, "select runnel.watch('items', 'item')")
	s.run(t, "call runnel.publish_rows('items')")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const writers = 4
	done := make(chan error, writers)
	for w := range writers {
		conn := s.connect(t, nil)
		go func() {
			for i := 0; ctx.Err() == nil; i++ {
				sql := []string{"update items set n = n + 1 where id = $1", "delete from items where id = $1", "insert into items (id, n) values ($1, 1) on conflict do nothing"}[i%3]
				if _, err := conn.Exec(context.WithoutCancel(ctx), sql, (i*7+w*5)%40); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	published := func() int64 { return pgtest.Value[int64](t, s.DB, "select count(*) from runnel.outbox") }
	for _, alter := range []string{
		"alter table items add tier text not null default 'basic'",
		"select runnel.watch('items')",
		"alter table items rename note to remark",
		"alter table items drop remark",
		"select runnel.watch('items')",
		"alter table items alter n type bigint",
		"select runnel.watch('items')",
		"alter table items add note int",
		"select runnel.watch('items')",
	} {
		before := published()
		s.run(t, alter)
		pgtest.Eventually(t, time.Minute, func() bool { return published() > before+50 })
	}
	stop()
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// What was there from the start, by the events alone: publish_rows would repair a
	// change that was lost.
	catalog := s.catalog(t, "items", outbox.TableOptions{})
	copied := replica{}
	changes := s.changes(t)
	copied.apply(t, catalog, changes)
	rows := map[string]string{}
	for _, c := range changes {
		var body struct {
			Row struct{ N json.Number } `json:"row"`
		}
		if err := json.Unmarshal([]byte(c.payload), &body); err != nil {
			t.Fatal(err)
		}
		if rows[c.id] = body.Row.N.String(); strings.HasSuffix(c.typ, "Deleted") {
			delete(rows, c.id)
		}
	}
	want := map[string]string{}
	for _, row := range pgtest.Values[string](t, s.DB, "select id || ' ' || n from app.items") {
		id, n, _ := strings.Cut(row, " ")
		want[id] = n
	}
	if !maps.Equal(rows, want) {
		t.Errorf("the events give %v, the table is %v", rows, want)
	}

	// And what joined, by a first state of it.
	s.run(t, "call runnel.publish_rows('items')")
	copied.apply(t, catalog, s.changes(t))
	copied.equals(t, s, catalog, "ItemChanged", "app.items", "t.id::text", "to_jsonb(t)")
}

// What happens to triggers and tables by hand is found.
func TestWatchProblems(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table items (id int primary key, n int unique); select runnel.watch('items', 'item')`)
	expect := func(fatal bool, text string) {
		t.Helper()
		tables, err := outbox.WatchedTables(t.Context(), pgtest.Conn(t, s.daemon))
		if err != nil || len(tables) != 1 || len(tables[0].Problems) == 0 {
			t.Fatalf("%+v, %v; want %q", tables, err, text)
		}
		p := tables[0].Problems[0]
		if p.Fatal != fatal || !strings.Contains(p.Message+"\n"+p.Remedy, text) {
			t.Errorf("%+v, want %q", p, text)
		}
	}
	s.run(t, "alter table items disable trigger runnel_watch")
	expect(true, "the trigger runnel_watch of table app.items is gone, or disabled")
	s.run(t, "select runnel.watch('items'); drop trigger runnel_watch_truncate on items")
	expect(true, "no trigger for TRUNCATE")
	s.run(t, "select runnel.watch('items'); alter table items add w interval")
	expect(true, "column w has joined and is not in the events: an interval has no exact Avro type; keep its seconds or months as a number\nChange the column, or leave it out: select runnel.watch('app.items', exclude => '{w}');")
	s.run(t, "select runnel.watch('app.items', exclude => '{w}'); alter table items drop constraint items_pkey")
	expect(true, "no unique index keeps the key of table app.items any more")
	s.run(t, "alter table items add primary key (id); alter table items set unlogged")
	expect(true, "app.items cannot be watched: it is unlogged")
	s.run(t, "alter table items set logged; create table child () inherits (items)")
	expect(true, "other tables inherit from it")
	s.run(t, "drop table child; revoke select on items from "+s.roles.Reader())
	expect(true, "the role that reads table app.items for a TRUNCATE may not")
	s.run(t, "drop table items")
	expect(true, "was dropped")
	remedy := func() string {
		tables, err := outbox.WatchedTables(t.Context(), s.conn)
		if err != nil {
			t.Fatal(err)
		}
		return tables[0].Problems[0].Remedy
	}()
	s.run(t, remedy)
	if tables, err := outbox.WatchedTables(t.Context(), s.conn); err != nil || len(tables) > 0 {
		t.Errorf("%+v, %v", tables, err)
	}

	// Its row taken away by hand, a trigger does not guess.
	s.run(t, "create table items (id int primary key); select runnel.watch('items', 'item')")
	s.Exec(t, "alter table runnel.watched disable trigger remove; delete from runnel.watched; alter table app.items add n int")
	refused(t, s.conn, "RN010", "drop trigger runnel_watch on app.items", "insert into items values (1)")
}
