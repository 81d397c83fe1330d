package outbox_test

import (
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

// remedy does what the doctor says of the only watched table, as its owner.
func (s *shop) remedy(t testing.TB) {
	t.Helper()
	problems := func() []outbox.WatchProblem {
		tables, err := outbox.WatchedTables(t.Context(), s.conn)
		if err != nil || len(tables) != 1 {
			t.Fatalf("%+v, %v", tables, err)
		}
		return tables[0].Problems
	}
	found := problems()
	if len(found) == 0 {
		t.Fatal("the doctor finds nothing")
	}
	for _, sql := range strings.SplitAfter(found[0].Remedy, ";") {
		s.run(t, sql) // one by one: a CALL that commits needs that
	}
	if found = problems(); len(found) > 0 {
		t.Errorf("%+v", found)
	}
}

// What changed while a trigger was not there, or disabled, comes by what the doctor
// says, also when publish_rows was interrupted before, wherever it was.
func TestPublishRowsAfterLoss(t *testing.T) {
	t.Parallel()
	const parts = `create table items (id int primary key, n int not null default 0, note text default repeat('x', 100)) partition by range (id);
		create table items_1 partition of items for values from (0) to (500); create table items_2 partition of items for values from (500) to (5000);
		insert into items select i from generate_series(1, 1000) i; select runnel.watch('items', 'item')`
	for name, c := range map[string]struct{ ddl, loss string }{
		"disabled":              {rowsDDL, "alter table items disable trigger runnel_watch"},
		"dropped":               {rowsDDL, "drop trigger runnel_watch on items"},
		"of a partition":        {parts, "alter table items_1 disable trigger runnel_watch"},
		"of another partition":  {parts, "alter table items_2 disable trigger runnel_watch"},
		"of a table with parts": {parts, "alter table items disable trigger runnel_watch"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, c.ddl)
			s.run(t, "select runnel.publish_begin('items')")
			for pgtest.Value[int64](t, s.DB, "select rows from runnel.first_state") < 600 {
				step(t, s.conn, 50)
			}
			s.run(t, c.loss)
			s.run(t, "update items set n = 7 where id % 3 = 0; insert into items (id) values (3000)")
			s.remedy(t)
			s.requireCopy(t, "items")
		})
	}
}

// A trigger that is not there is no ground for a first state.
func TestPublishRowsWithoutTrigger(t *testing.T) {
	t.Parallel()
	s := newShop(t, rowsDDL+"; alter table items disable trigger runnel_watch")
	refused(t, s.conn, "RN009", "the trigger runnel_watch of table app.items is gone, or disabled", "call runnel.publish_rows('items')")
}

// A partition that joins brings its rows by what the doctor says; one whose table
// was made long before, and one that left and comes back, too.
func TestPublishRowsJoined(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table items_0 (id int primary key, n int not null);
		create table items (id int primary key, n int not null) partition by range (id);
		create table items_1 partition of items for values from (0) to (500); create table items_2 partition of items for values from (500) to (1000);
		insert into items select i, 0 from generate_series(1, 999) i; insert into items_0 select i, 1 from generate_series(1000, 1100) i;
		select runnel.watch('items', 'item'); select runnel.publish_begin('items')`)
	for pgtest.Value[int64](t, s.DB, "select rows from runnel.first_state") < 600 {
		step(t, s.conn, 50)
	}
	s.run(t, "alter table items detach partition items_1; update items_1 set n = 9; alter table items attach partition items_1 for values from (0) to (500)")
	s.run(t, "alter table items attach partition items_0 for values from (1000) to (2000)")
	s.remedy(t)
	s.requireCopy(t, "items")
}

// A row that cannot be published is named.
func TestPublishRowsNamesRow(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table odd (id int primary key, due date); insert into odd select i from generate_series(1, 50) i;
		update odd set due = 'infinity' where id = 33; create table loose (k int, v int); insert into loose values (1, 1), (null, 2);
		create table big (id text primary key, v text); insert into big values ('a', repeat('x', 2000)), ('', '');
		select runnel.watch('odd', 'odd'), runnel.watch('loose', 'loose', 'k'), runnel.watch('big', 'big', max_bytes => 1000)`)
	refused(t, s.conn, "RN008", "row 33 (ctid (0,51) of table app.odd) cannot be published: table app.odd is watched, and its column due holds what its events cannot: a value that Avro does not have Write another value", "call runnel.publish_rows('odd')")
	s.run(t, "update odd set due = null where id = 33")
	s.run(t, "call runnel.publish_rows('odd')")
	refused(t, s.conn, "RN008", "row without a key (ctid (0,2) of table app.loose) cannot be published: table app.loose is watched, and its column k holds", "call runnel.publish_rows('loose')")
	refused(t, s.conn, "RN008", "row a (ctid (0,1) of table app.big) cannot be published: table app.big is watched, and the event of row a may have", "call runnel.publish_rows('big')")
	s.run(t, "delete from big where id = 'a'")
	refused(t, s.conn, "RN008", "row  (ctid (0,2) of table app.big) cannot be published: table app.big is watched, and a row's key has 0 bytes", "call runnel.publish_rows('big')")
}
