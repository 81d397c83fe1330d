package outbox_test

import (
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// An event's size is that of its Avro, on every way that it takes: much larger than
// the JSON of floating point, much smaller than that of bytes.
func TestWatchSizes(t *testing.T) {
	t.Parallel()
	for _, way := range []struct{ name, ddl, alter string }{
		{"short", "", ""},
		{"slow", "", "alter table big rename note to remark"},
		{"careful", "deferrable", ""},
		{"slow and careful", "deferrable", "alter table big rename note to remark"},
	} {
		t.Run(way.name, func(t *testing.T) {
			s := newShop(t, `create table big (id text primary key `+way.ddl+`, d bytea, e float8[], note text);
				select runnel.watch('big', 'big', max_bytes => 100000, before => true);`+way.alter)
			catalog := s.catalog(t, "big", outbox.TableOptions{})
			event, _ := catalog.Event("BigChanged")
			refused(t, s.conn, "RN008", "100000 are admitted", "insert into big (id, e) values ('1', array_fill(0::float8, array[12000]))")
			refused(t, s.conn, "RN008", "100000 are admitted", "insert into big (id, d) values ('1', decode(repeat('00', 100000), 'hex'))")
			s.run(t, "insert into big (id, d) values ('1', decode(repeat('00', 90000), 'hex')); update big set d = null; update big set e = array_fill(0::float8, array[10000])")
			refused(t, s.conn, "RN008", "100000 are admitted", "update big set d = decode(repeat('00', 9000), 'hex')") // with the row as it was
			s.run(t, "update big set e = null; update big set d = decode(repeat('00', 60000), 'hex'); delete from big")
			for _, c := range s.changes(t) {
				if c.typ != "BigChanged" {
					continue
				}
				if data, err := schemas.AppendJSONToAvro(nil, event.Schema, []byte(c.payload)); err != nil || len(data) > 100000 {
					t.Errorf("%d bytes of Avro: %v", len(data), err)
				}
			}
			// Its key is all that a Deleted without the row holds.
			s.run(t, "drop table big; create table big (id text primary key "+way.ddl+", d bytea, e float8[], note text); insert into big select i, decode(repeat('00', 100001), 'hex') from generate_series(1, 2) i; select runnel.watch('big', 'bigger', max_bytes => 100000);"+way.alter)
			s.run(t, "delete from big where id = '1'; truncate big")
			if got := s.changes(t); len(got) != 2 {
				t.Errorf("%d events", len(got))
			}
		})
	}
}

// A TRUNCATE takes rows that an old snapshot does not see.
func TestWatchTruncateIsolation(t *testing.T) {
	t.Parallel()
	s := newShop(t, "create table items (id int primary key); select runnel.watch('items', 'item')")
	for _, level := range []string{"repeatable read", "serializable"} {
		old := s.connect(t, nil)
		run(t, old, "begin isolation level "+level+"; select 1")
		s.run(t, "insert into items values (1)")
		refused(t, old, "RN008", "isolation level "+strings.ToUpper(level), "truncate items")
		run(t, old, "rollback")
		s.run(t, "truncate items")
	}
	s.requireCopy(t, "items")
}

// Row security stands in the way of a TRUNCATE, and of changes in a statement in
// which the table's own triggers have changed it; not of those that other tables'
// triggers and foreign keys make.
func TestWatchRowSecurity(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table mine (id int primary key, n int not null default 0, parent int); alter table mine enable row level security; create policy mine on mine using (true);
		create table other (id int primary key);
		create function note() returns trigger language plpgsql as $$ begin insert into mine values (new.id); update mine set n = n + 1 where id = new.id; return null; end $$;
		create trigger note after insert on other for each row execute function note();
		alter table mine add foreign key (parent) references other on delete set null;
		select runnel.watch('mine', 'item')`)
	for _, sql := range []string{"insert into other values (1), (2)", "update mine set parent = 1", "delete from other where id = 1",
		"begin", "insert into other values (3)", "update mine set n = 5", "delete from mine where id = 3", "commit"} {
		s.run(t, sql) // one by one: together they are one statement of the session
	}
	catalog := s.catalog(t, "mine", outbox.TableOptions{})
	copied := replica{}
	copied.apply(t, catalog, s.changes(t))
	copied.equals(t, s, catalog, "ItemChanged", "app.mine", "t.id::text", "to_jsonb(t)")
	if len(copied) != 2 {
		t.Errorf("%v", copied)
	}
	s.run(t, `create function own() returns trigger language plpgsql as $$ begin update mine set n = n + 1 where id <> new.id; return null; end $$;
		create trigger a_own after update of parent on mine for each row execute function own()`)
	refused(t, s.conn, "RN008", "row security hides rows of table app.mine from "+s.roles.Reader(), "update mine set parent = 2")
	s.Exec(t, "alter role "+s.roles.Reader()+" bypassrls")
	s.run(t, "update mine set parent = 2; truncate mine")
	copied.apply(t, catalog, s.changes(t))
	if len(copied) != 0 {
		t.Errorf("%v", copied)
	}
}

// A deferrable key makes every change read the table.
func TestWatchRowSecurityDeferrable(t *testing.T) {
	t.Parallel()
	s := newShop(t, "create table mine (id int primary key deferrable); alter table mine enable row level security")
	refused(t, s.conn, "RN007", "every change would be refused ALTER ROLE", "select runnel.watch('mine', 'mine')")
}

// An id is the key's text: a type that writes it otherwise makes other aggregates.
func TestAlterKey(t *testing.T) {
	t.Parallel()
	for alter, ok := range map[string]bool{
		"alter k type numeric(12,4)":                 false,
		"alter k type numeric(12,2)":                 true,
		"alter k type text":                          false,
		"alter l type bigint":                        true,
		"alter l type numeric(12,1)":                 false,
		"alter l type text":                          true,
		"alter d type timestamp":                     false,
		"alter u type text":                          true,
		"alter k type int, alter d type text":        false,
		"alter l type bigint, alter u type char(40)": true,
	} {
		t.Run(alter, func(t *testing.T) {
			s := newShop(t, `create table items (k numeric(6,2), l int, d date, u uuid, n int, primary key (k, l, d, u)); insert into items values (1.5, 2, '2026-11-21', gen_random_uuid(), 0);
				select runnel.watch('items', 'item')`)
			s.run(t, "call runnel.publish_rows('items')")
			s.run(t, "alter table items "+alter)
			if ok {
				s.run(t, "select runnel.watch('items'); update items set n = 1; delete from items")
				got := s.changes(t)
				if len(got) != 3 || got[0].id != got[1].id || got[1].id != got[2].id {
					t.Errorf("%v", got)
				}
				return
			}
			for _, sql := range []string{"update items set n = 1", "delete from items", "truncate items"} {
				refused(t, s.conn, "RN009", "in the key and of another type now, by which ids are others", sql)
			}
			refused(t, s.conn, "RN010", "begin anew", "select runnel.watch('items')")
			refused(t, s.conn, "RN009", "begin anew, as rows will have other ids: select runnel.unwatch('app.items');", "call runnel.publish_rows('items')")
			tables, err := outbox.WatchedTables(t.Context(), s.conn)
			if err != nil || len(tables[0].Problems) == 0 || !tables[0].Problems[0].Fatal || !strings.Contains(tables[0].Problems[0].Remedy, "runnel.unwatch") {
				t.Errorf("%+v, %v", tables, err)
			}
		})
	}
}
