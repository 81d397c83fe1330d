package outbox_test

import (
	"testing"
)

// BenchmarkWatch: what a row of ten columns costs its writer, by an UPDATE of one
// row and by one of a thousand; beside the INSERT of an event by hand. All in one
// transaction, which is not timed.
func BenchmarkWatch(b *testing.B) {
	s := newShop(b, `create table items (id int primary key, name text not null, email text, balance numeric(12,2), active bool,
			created timestamptz, tags text[], note text, ref uuid, n bigint);
		insert into items select i, 'name ' || i, 'a' || i || '@example.com', i * 1.25, true, now(), array['a','b'], 'some note', gen_random_uuid(), i
			from generate_series(1, 1000) i`)
	measure := func(name string, rows int, sql string) {
		b.Run(name, func(b *testing.B) {
			tx, err := s.conn.Begin(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := tx.Exec(b.Context(), sql); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, rows)
			if err := tx.Rollback(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
	const one, all = "update items set n = n + 1 where id = 500", "update items set n = n + 1"
	measure("by-hand/1", 1, insertEvent)
	measure("by-hand/1000", 1000, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
		select 'order', i::text, 'OrderPlaced', 2, '{}' from generate_series(1, 1000) i`)
	measure("unwatched/1", 1, one)
	measure("unwatched/1000", 1000, all)
	for name, watch := range map[string]string{
		"watched": "select runnel.watch('items', 'item')",
		"before":  "select runnel.watch('items', 'item', before => true)",
	} {
		s.run(b, watch)
		measure(name+"/1", 1, one)
		measure(name+"/1000", 1000, all)
		s.run(b, "select runnel.unwatch('items')")
	}
	s.run(b, "select runnel.watch('items', 'item'); alter table items add more int")
	measure("column-joined/1", 1, one)
	s.run(b, "alter table items rename note to remark")
	measure("column-renamed/1", 1, one)
}
