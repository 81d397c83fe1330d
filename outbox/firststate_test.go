package outbox_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

const rowsDDL = `create table items (id int primary key, n int not null default 0, note text not null default repeat('x', 100));
	insert into items select i from generate_series(1, 1000) i; delete from items where id % 7 = 0; update items set n = 1 where id % 5 = 0;
	select runnel.watch('items', 'item')`

// step does one transaction's worth of publish_rows, and reports whether there is more.
func step(t testing.TB, conn *pgx.Conn, chunk int) (more bool) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "select runnel.publish_chunk('app.items', $1)", chunk).Scan(&more); err != nil {
		t.Fatal(err)
	}
	return more
}

func (s *shop) requireCopy(t testing.TB, table string) {
	t.Helper()
	catalog := s.catalog(t, table, outbox.TableOptions{})
	copied := replica{}
	copied.apply(t, catalog, s.changes(t))
	copied.equals(t, s, catalog, "ItemChanged", "app."+table, "t.id::text", "to_jsonb(t)")
}

func TestPublishRows(t *testing.T) {
	t.Parallel()
	s := newShop(t, rowsDDL)
	s.run(t, "call runnel.publish_rows('items')")
	s.requireCopy(t, "items")
	tables, err := outbox.WatchedTables(t.Context(), s.conn)
	if err != nil || tables[0].FirstState == nil || tables[0].FirstState.Rows != 858 || tables[0].FirstState.Finished.IsZero() {
		t.Errorf("%+v, %v", tables[0].FirstState, err)
	}
	s.run(t, "call runnel.publish_rows('items', chunk => 10)") // once more, from the beginning
	s.requireCopy(t, "items")

	s.run(t, "create table empty (id int primary key); select runnel.watch('empty', 'empty')")
	s.run(t, "call runnel.publish_rows('empty')")
	s.run(t, "create table other (id int primary key)")
	refused(t, s.conn, "RN010", "table app.other is not watched", "call runnel.publish_rows('other')")
	refused(t, s.conn, "RN004", "chunk must be", "call runnel.publish_rows('items', 0)")
	refused(t, s.conn, "2D000", "", "begin; call runnel.publish_rows('items'); commit")
	s.run(t, "rollback; set default_transaction_isolation = 'repeatable read'")
	refused(t, s.conn, "RN004", "READ COMMITTED", "call runnel.publish_rows('items')")
	s.run(t, "reset default_transaction_isolation; alter table items add x int")
	refused(t, s.conn, "RN009", "column x has joined", "call runnel.publish_rows('items')")
}

// A row that a writer holds is waited for at the end of its chunk, with nothing
// else held, so that no writer can come into a deadlock with us.
func TestPublishRowsHeld(t *testing.T) {
	t.Parallel()
	s := newShop(t, rowsDDL)
	s.run(t, "select runnel.publish_begin('items')")
	a, b, c := s.connect(t, nil), s.connect(t, nil), s.connect(t, nil)
	run(t, a, "begin; update items set n = 100 where id = 1")
	run(t, b, "begin; delete from items where id = 2; update items set n = 200 where id = 11")
	run(t, c, "begin; select from items where id = 3 for update")
	for step(t, s.conn, 1000) {
		if n := pgtest.Value[int](t, s.DB, "select cardinality(waiting) from runnel.first_state"); n > 0 {
			if n != 4 {
				t.Errorf("%d rows are waited for", n)
			}
			break
		}
	}
	// While one of them is waited for, its holder gets every other row.
	waiting := make(chan error, 1)
	publisher := s.connect(t, nil)
	go func() {
		_, err := publisher.Exec(context.Background(), "call runnel.publish_rows('items')")
		waiting <- err
	}()
	pgtest.Eventually(t, time.Minute, func() bool {
		return pgtest.Value[bool](t, s.DB, "select exists (select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock')", publisher.PgConn().PID())
	})
	run(t, a, "update items set n = n + 1 where id > 3 and id <> 11")
	run(t, a, "commit")
	run(t, b, "rollback")
	run(t, c, "update items set n = 300 where id = 3; commit")
	if err := <-waiting; err != nil {
		t.Fatal(err)
	}
	s.requireCopy(t, "items")
}

// Thousands of rows that one writer holds come as soon as it ends, all at once.
func TestPublishRowsManyHeld(t *testing.T) {
	t.Parallel()
	s := newShop(t, rowsDDL)
	holder := s.connect(t, nil)
	run(t, holder, "begin; update items set n = n + 1 where id % 2 = 0; select from items where id % 3 = 0 for update")
	s.run(t, "select runnel.publish_begin('items')")
	for pgtest.Value[int](t, s.DB, "select coalesce(cardinality(waiting), 0) from runnel.first_state") == 0 {
		step(t, s.conn, 100000)
	}
	run(t, holder, "commit")
	for range 2 {
		step(t, s.conn, 100000)
	}
	if n := pgtest.Value[int](t, s.DB, "select cardinality(waiting) from runnel.first_state"); n > 60 { // of the next blocks
		t.Errorf("%d rows are still waited for", n)
	}
	s.run(t, "call runnel.publish_rows('items')")
	s.requireCopy(t, "items")
}

// Interrupted, it goes on; begins a rewritten table anew.
func TestPublishRowsResumes(t *testing.T) {
	t.Parallel()
	s := newShop(t, rowsDDL)
	publisher := s.connect(t, nil)
	run(t, publisher, "select runnel.publish_begin('items')")
	for range 4 {
		step(t, publisher, 10)
	}
	done := pgtest.Value[int64](t, s.DB, "select rows from runnel.first_state")
	s.Exec(t, "select pg_terminate_backend($1)", publisher.PgConn().PID())
	s.run(t, "select runnel.publish_begin('items')")
	if done == 0 || pgtest.Value[int64](t, s.DB, "select rows from runnel.first_state") != done {
		t.Error("it began anew")
	}
	step(t, s.conn, 10)
	s.Exec(t, "vacuum full app.items")
	step(t, s.conn, 10)
	if n := pgtest.Value[int64](t, s.DB, "select next_block from runnel.first_state"); n != 0 {
		t.Errorf("it went on at block %d of a rewritten table", n)
	}
	s.run(t, "update items set n = n + 1 where id < 20; delete from items where id between 30 and 40")
	s.run(t, "call runnel.publish_rows('items')")
	s.requireCopy(t, "items")
	s.run(t, "select runnel.publish_begin('items')")
	step(t, s.conn, 10)
	s.run(t, "truncate items; insert into items values (1)")
	s.run(t, "call runnel.publish_rows('items')")
	s.requireCopy(t, "items")
}

func TestPublishRowsPartitioned(t *testing.T) {
	t.Parallel()
	s := newShop(t, `create table items (id int primary key, n int) partition by range (id);
		create table items_1 partition of items for values from (0) to (100);
		create table items_2 partition of items for values from (100) to (200) partition by range (id);
		create table items_2a partition of items_2 for values from (100) to (150);
		create table items_2b partition of items_2 default;
		create table items_3 partition of items default;
		insert into items select i, i from generate_series(1, 300) i;
		select runnel.watch('items', 'item')`)
	s.run(t, "select runnel.publish_begin('items')")
	for range 4 {
		step(t, s.conn, 20)
	}
	s.run(t, "drop table items_1; update items set id = id + 1000 where id between 120 and 130; create table items_1 partition of items for values from (0) to (100); insert into items values (5, 5)")
	s.run(t, "call runnel.publish_rows('items', 20)")
	catalog := s.catalog(t, "items", outbox.TableOptions{})
	copied := replica{}
	copied.apply(t, catalog, s.changes(t))
	for id := range 100 {
		if id != 5 {
			delete(copied, fmt.Sprint(id)) // DROP TABLE tells nothing
		}
	}
	copied.equals(t, s, catalog, "ItemChanged", "app.items", "t.id::text", "to_jsonb(t)")
}

// Beside writers that insert, change, move, delete, roll back and lock, the copy
// ends equal to the table, and no writer fails but by what it does itself.
func TestPublishRowsUnderLoad(t *testing.T) {
	t.Parallel()
	s := newShop(t, rowsDDL)
	const writers = 3
	const seed = 20260101
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var committed atomic.Int64
	done := make(chan error, writers)
	for w := range writers {
		conn := s.connect(t, nil)
		r := rand.New(rand.NewPCG(seed, uint64(w)))
		go func() {
			for ctx.Err() == nil {
				sql := randomTransaction(r)
				_, err := conn.Exec(context.WithoutCancel(ctx), sql)
				if code := sqlState(err); code == "23505" { // of its own doing
					_, err = conn.Exec(context.WithoutCancel(ctx), "rollback")
				}
				if err != nil {
					done <- fmt.Errorf("%s: %w", sql, err)
					return
				}
				committed.Add(1)
			}
			done <- nil
		}()
	}
	publisher := s.connect(t, nil)
	for round := range 3 {
		run(t, publisher, "call runnel.publish_rows('items', $1)", []int{1, 20, 500}[round])
	}
	stop()
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := committed.Load(); n < 100 {
		t.Errorf("only %d transactions beside it", n)
	}
	s.requireCopy(t, "items")
}

// randomTransaction touches a few of the rows in the order of their ids, so that
// writers have no deadlocks among themselves.
func randomTransaction(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString("begin; ")
	id := 0
	for range 1 + r.IntN(4) {
		id += 1 + r.IntN(300)
		switch r.IntN(7) {
		case 0:
			fmt.Fprintf(&b, "insert into items values (%d, 5) on conflict (id) do update set n = items.n + 1; ", id)
		case 1:
			fmt.Fprintf(&b, "delete from items where id = %d; ", id)
		case 2:
			fmt.Fprintf(&b, "update items set id = id + 2000 where id = %d; ", id)
		case 3:
			fmt.Fprintf(&b, "savepoint s; delete from items where id = %d; rollback to s; ", id)
		case 4:
			fmt.Fprintf(&b, "select from items where id = %d for update; ", id)
		default:
			fmt.Fprintf(&b, "update items set n = n + 1 where id between %d and %d; ", id, id+r.IntN(3))
		}
	}
	b.WriteString([]string{"commit", "commit", "commit", "rollback"}[r.IntN(4)])
	return b.String()
}
