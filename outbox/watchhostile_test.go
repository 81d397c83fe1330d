package outbox_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/outbox"
)

// The trigger runs as the owner of Runnel's schema. Where Postgres looks for a
// cast, of a type or of its arrays, it finds code of the type's owner; none of it
// may run, on any way that a row takes.
func TestWatchHostileTypes(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create type mood as enum ('sad', 'so_so', ''); alter type mood rename value '' to 'up';
		create type odd as enum ('fine', 'not a name', '');
		create domain feeling as mood; create domain words as text; create domain moods as mood[]; create domain blob as bytea;
		create domain day as date; create domain code as char(4);
		create table things (id mood, code odd, a mood[], b odd[] not null, c feeling, d feeling[], e words[], f moods, g blob[], h day[], i code[], k day, n int not null default 0,
			primary key (id, code));
		create function nested() returns trigger language plpgsql as $$ begin update things set n = n + 1 where id = new.id and n < 5; return null; end $$;
		create trigger a_nested after update of n on things for each row execute function nested()`)
	casts := 0
	for _, from := range []string{"mood", "mood[]", "odd", "odd[]", "feeling[]", "words[]", "blob[]", "day[]", "code[]"} {
		for _, to := range []string{"text", "text[]", "json", "jsonb", "varchar", "name"} {
			f := fmt.Sprintf("evil_%d", casts)
			s.run(t, "create function "+f+"(v "+from+") returns "+to+` language plpgsql as $$ begin
				if current_user <> '`+s.Role("shop")+`' then raise exception 'code of the table''s owner runs as %', current_user; end if;
				return null; end $$`)
			if _, err := s.conn.Exec(t.Context(), "create cast ("+from+" as "+to+") with function "+f+" as assignment"); err != nil {
				t.Fatal(err)
			}
			casts++
		}
	}
	const rows = `('sad', 'not a name', '{sad,NULL}', '{fine,"not a name",NULL}', 'so_so', '{so_so}', '{"a,b"}', '{up,sad}', '{"\\x00ff"}', '{2026-11-21}', '{abc}', '2026-11-21'),
		('up', '', null, '{}', null, null, null, null, null, null, null, null)`
	s.run(t, "insert into things values "+rows)
	s.run(t, "select runnel.watch('things', 'thing', before => true)")
	s.run(t, "update things set n = 1")
	s.Exec(t, "call runnel.publish_rows('app.things')") // as a superuser
	s.run(t, "update things set code = 'fine'; delete from things where id = 'up'")
	s.run(t, "alter table things rename n to m; create or replace function nested() returns trigger language plpgsql as $$ begin update things set m = m + 1 where id = new.id and m < 9; return null; end $$")
	s.run(t, "update things set m = 6; update things set id = 'so_so'")
	catalog := s.catalog(t, "things", outbox.TableOptions{})
	copied := replica{}
	copied.apply(t, catalog, s.changes(t))
	row := "jsonb_build_object('id', concat(id), 'code', concat(code), 'n', m, 'c', nullif(concat(c), ''), 'k', nullif(concat(k), '')"
	for _, array := range []string{"a", "b", "d", "e", "f", "g", "h", "i"} {
		row += ", '" + array + "', nullif(replace(concat(" + array + "), 'abc ', 'abc'), '')::text[]"
	}
	copied.equals(t, s, catalog, "ThingChanged", "app.things", "concat(t.id, ',', t.code)", row+")")
	s.run(t, "truncate things")
}

// The condition that finds a row by its key takes the index's own operator, not
// one that the table's owner has made for a domain.
func TestWatchHostileOperators(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.Exec(t, "create extension citext schema app")
	s.run(t, `create domain label as citext;
		create function evil(label, label) returns boolean language plpgsql as $$ begin raise exception 'code of the table''s owner runs as %', current_user; end $$;
		create operator app.= (leftarg = label, rightarg = label, function = evil);
		create table things (id label, n int not null default 0); create unique index on things (id);
		create function nested() returns trigger language plpgsql as $$ begin update things set n = n + 1 where id::citext = new.id::citext and n < 5; return null; end $$;
		create trigger a_nested after update of n on things for each row execute function nested();
		insert into things values ('a'); select runnel.watch('things', 'thing', 'id'); update things set n = 1; alter table things rename n to m;
		create or replace function nested() returns trigger language plpgsql as $$ begin update things set m = m + 1 where id::citext = new.id::citext and m < 9; return null; end $$;
		update things set m = 6; update things set id = 'b'`)
	if got := s.changes(t); len(got) < 8 || got[len(got)-1].payload != `{"operation":"UPDATE","row":{"id":"b","n":9}}` {
		t.Errorf("%v", got)
	}
}

// Policies are code of the table's owner: the table is read only where none apply.
func TestWatchHostilePolicies(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table things (id int primary key, n int) partition by range (id);
		create table part partition of things default; insert into things values (1, 1);
		create function evil(int) returns boolean language plpgsql as $$ begin raise exception 'code of the table''s owner runs as %', current_user; end $$;
		select runnel.watch('things', 'thing');
		alter table part enable row level security; create policy evil on part using (evil(id))`)
	refused(t, s.conn, "RN008", "row security hides rows of table app.part", "truncate part")
	s.run(t, "alter table part force row level security")
	refused(t, s.conn, "RN008", "row security hides rows of table app.part", "call runnel.publish_rows('things')")
	s.run(t, "update things set n = 2; alter table part disable row level security; truncate things")
	if got := s.changes(t); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// To plan a query is to run functions of indexes that are declared IMMUTABLE. They
// run as the reader, who may read what is watched and nothing else, and cannot get
// more by altering the functions that are its own.
func TestWatchHostileIndexes(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table things (id int primary key, n int); insert into things values (1, 1);
		create function note(sql text) returns void language plpgsql as $$ begin
			if current_user not like '%shop' then
				begin execute sql; raise warning 'done: % as %', sql, current_user; exception when others then raise warning 'refused: % as %', sqlerrm, current_user; end;
			end if; end $$;
		create function evil(int) returns int immutable language plpgsql as $$ begin
			perform app.note('insert into runnel.event_type values (''Forged'', ''x'', '''')');
			perform app.note('select from runnel.outbox');
			perform app.note('create function runnel.pascal(varchar) returns text language sql as ''select 1''');
			perform app.note('create or replace function runnel.read_rows(relation regclass, query text) returns table (id text, key text, before text, size bigint) language sql as ''select null, null, null, 1''');
			perform app.note('alter function runnel.read_rows(regclass, text) security invoker');
			perform app.note('alter function runnel.read_kept(regclass, text, anyelement) security invoker');
			return 1; end $$;
		select runnel.watch('things', 'thing');
		create index on things ((n + evil(1)))`)
	done, refusals := map[string]bool{}, 0
	hear := func(n *pgconn.Notice) {
		if !strings.HasSuffix(n.Message, " as "+s.roles.Reader()) {
			t.Errorf("code of the table's owner runs: %s", n.Message)
		} else if what, ok := strings.CutPrefix(n.Message, "done: "); ok {
			done[strings.Fields(what)[0]] = true
		} else {
			refusals++
		}
	}
	run(t, s.connect(t, hear), "truncate things")
	if refusals != 4 || len(done) != 1 || !done["alter"] {
		t.Errorf("%d were refused, done: %v", refusals, done)
	}
	refused(t, s.connect(t, hear), "42501", "runnel.read_rows or runnel.read_kept was altered Run `runnel init`", "truncate things")
	mend := func() {
		t.Helper()
		if report, err := outbox.Init(t.Context(), s.admin, outbox.InitOptions{Roles: s.roles}); err != nil || !report.Changed() {
			t.Errorf("%+v, %v", report, err)
		}
	}
	mend()
	s.Exec(t, "alter function runnel.read_kept(regclass, text, anyelement) reset search_path")
	refused(t, s.connect(t, hear), "42501", "was altered", "truncate things")
	mend()
	s.run(t, "drop index things_expr_idx")
	run(t, s.connect(t, hear), "insert into things values (2, 2); truncate things")
	if got := s.changes(t); len(got) != 3 {
		t.Errorf("%v", got)
	}
}
