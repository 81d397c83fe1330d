package outbox_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/outbox"
)

// Whatever two sessions do to a table, interleaved as may be, and whatever its
// own triggers do, the events in commit order give the table, row for row.
func TestWatchHistories(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	sessions := []*pgx.Conn{s.connect(t, nil), s.connect(t, nil)}
	for _, c := range sessions {
		run(t, c, "set lock_timeout = '20ms'")
	}
	const most = 40 // histories, unless one fails
	count, failed := 0, false
	rapid.Check(t, func(rt *rapid.T) {
		if count++; count > most && !failed {
			return
		}
		fail := func(format string, args ...any) {
			failed = true
			rt.Fatalf(format, args...)
		}
		for _, c := range sessions {
			run(t, c, "rollback") // what a failed history left
		}
		s.run(t, `drop table if exists items; create table items (id int primary key`+rapid.SampledFrom([]string{"", " deferrable", " deferrable initially deferred"}).Draw(rt, "key")+
			`, n int not null default 0, note text)`+rapid.SampledFrom([]string{"", " partition by range (id); create table items_1 partition of items for values from (-1000) to (3); create table items_2 partition of items default"}).Draw(rt, "parts"))
		if rapid.Bool().Draw(rt, "trigger") {
			s.run(t, `create or replace function follow() returns trigger language plpgsql as $$ begin
					if pg_trigger_depth() < 3 then update items set n = n + 10 where id = new.n % 5; delete from items where n > 60; end if; return null; end $$;
				create trigger `+rapid.SampledFrom([]string{"a_early", "z_late"}).Draw(rt, "order")+` after insert or update of n on items for each row execute function follow()`)
		}
		s.run(t, "insert into items values (0, 1), (1, 1), (2, 2)")
		s.run(t, "select runnel.watch('items', 'item', before => "+fmt.Sprint(rapid.Bool().Draw(rt, "before"))+")")
		s.changes(t)
		s.run(t, "call runnel.publish_rows('items', 2)")
		open := map[int]bool{}
		for range rapid.IntRange(1, 20).Draw(rt, "statements") {
			who := rapid.IntRange(0, 1).Draw(rt, "session")
			sql := rapid.Custom(historyStatement).Draw(rt, "sql")
			switch sql {
			case "commit", "rollback", "savepoint s", "rollback to s":
				if !open[who] {
					continue
				}
				open[who] = sql != "commit" && sql != "rollback"
			case "begin":
				if open[who] {
					continue
				}
				open[who] = true
			}
			if _, err := sessions[who].Exec(context.Background(), sql); err != nil {
				// A key taken, a lock not had, no savepoint, a row changed by its own trigger or twice, ON CONFLICT of a deferrable key, TRUNCATE before its check.
				if code := sqlState(err); !strings.Contains("23505 55P03 3B001 27000 40P01 55000 55006 21000", code) || code == "" {
					fail("%s: %v", sql, err)
				}
				if open[who] {
					run(t, sessions[who], "rollback")
					open[who] = false
				}
			}
		}
		for who := range open {
			// A deferred key is checked now, and may be another session's, that is not yet decided.
			_, err := sessions[who].Exec(context.Background(), "commit")
			if code := sqlState(err); err != nil && code != "23505" && code != "55P03" {
				fail("commit: %v", err)
			}
		}
		catalog := s.catalog(t, "items", outbox.TableOptions{})
		copied := replica{}
		copied.apply(t, catalog, s.changes(t))
		if wrong := copied.differs(t, s, catalog, "ItemChanged", "app.items", "t.id::text", "to_jsonb(t)"); wrong != "" {
			fail("%s", wrong)
		}
	})
}

// TestWatchTwoRowsOfOneKey: while a deferred key is not checked, two rows have it;
// the event holds the one that was written.
func TestWatchTwoRowsOfOneKey(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	other := s.connect(t, nil)
	s.run(t, `create table items (id int primary key deferrable initially deferred, n int);
		select runnel.watch('items', 'item'); insert into items values (1, 41), (5, 9)`)
	s.run(t, "begin")
	s.run(t, "update items set id = 1 where id = 5")
	run(t, other, "update items set id = 3 where id = 1")
	s.run(t, "commit")
	catalog := s.catalog(t, "items", outbox.TableOptions{})
	copied := replica{}
	copied.apply(t, catalog, s.changes(t))
	if wrong := copied.differs(t, s, catalog, "ItemChanged", "app.items", "t.id::text", "to_jsonb(t)"); wrong != "" {
		t.Error(wrong)
	}
}

func historyStatement(t *rapid.T) string {
	id := rapid.IntRange(0, 6).Draw(t, "id")
	other := rapid.IntRange(0, 6).Draw(t, "other")
	return rapid.SampledFrom([]string{
		"begin", "begin", "commit", "commit", "rollback", "savepoint s", "rollback to s",
		fmt.Sprintf("insert into items values (%d, %d)", id, other),
		fmt.Sprintf("insert into items values (%d, %d), (%d, 3) on conflict do nothing", id, other, other),
		fmt.Sprintf("update items set n = n + 1 where id <= %d", id),
		fmt.Sprintf("update items set note = note || 'x' where id = %d", id),
		fmt.Sprintf("update items set id = %d where id = %d", other, id),
		fmt.Sprintf("update items set id = %d - id where id between %d and %d", id+other, min(id, other), max(id, other)),
		fmt.Sprintf("delete from items where id = %d", id),
		"delete from items where n > 40",
		fmt.Sprintf("merge into items i using (values (%d), (%d)) v(id) on v.id = i.id when matched then update set n = v.id when not matched then insert values (v.id, 9)", id, id+1),
		"truncate items",
		"set constraints all deferred",
	}).Draw(t, "statement")
}
