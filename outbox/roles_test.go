package outbox_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

const insertEvent = `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload) values ('order', '1', 'OrderPlaced', 2, '{}')`

func TestWriterMayOnlyPublish(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	conn := pgtest.Conn(t, b.writer)
	run(t, conn, insertEvent)
	run(t, conn, "select runnel.publish('order', '1', 'OrderPlaced', '{}')")
	_, err := conn.CopyFrom(t.Context(), pgx.Identifier{"runnel", "outbox"},
		[]string{"aggregate_type", "aggregate_id", "event_type", "encoding", "payload"},
		pgx.CopyFromRows([][]any{{"order", "1", "OrderPlaced", int16(2), []byte("{}")}}))
	if err != nil {
		t.Errorf("copy: %v", err)
	}
	for _, sql := range []string{
		"select * from runnel.outbox",
		"select id from runnel.outbox",
		insertEvent + " returning id",
		"update runnel.outbox set payload = ''",
		"delete from runnel.outbox",
		"truncate runnel.outbox",
		"insert into runnel.outbox (seq, aggregate_type, aggregate_id, event_type, encoding, payload) values (1, 'order', '1', 'OrderPlaced', 2, '{}')",
		"insert into runnel.outbox (xid, aggregate_type, aggregate_id, event_type, encoding, payload) values ('3', 'order', '1', 'OrderPlaced', 2, '{}')",
		"insert into runnel.outbox (inserted_at, aggregate_type, aggregate_id, event_type, encoding, payload) values (now(), 'order', '1', 'OrderPlaced', 2, '{}')",
		"insert into runnel.outbox_default (aggregate_type, aggregate_id, event_type, encoding, payload) values ('order', '1', 'OrderPlaced', 2, '{}')",
		"insert into runnel.control (pipeline, kind) values ('p', 'k')",
		"insert into runnel.event_type values ('a', 'b', decode(repeat('00', 32), 'hex'))",
		"select runnel.register_event_types('{a}', '{b}', array[decode(repeat('00', 32), 'hex')])",
		"select * from runnel.pipeline",
		"select * from runnel.epoch",
		"insert into runnel.progress (pipeline, confirmed_lsn) values ('p', '0/1')",
		"select runnel.ensure_partitions()",
		"select runnel.adopt_default()",
		"select runnel.drop_confirmed('1 day')",
		"select runnel.make_partition('x', 'default')",
		"select setval('runnel.outbox_seq', 1)",
		"select pg_create_logical_replication_slot('" + b.Slot("forged") + "', 'pgoutput')",
		"create table runnel.mine ()",
		"alter publication runnel set (publish = 'delete')",
	} {
		_, err := conn.Exec(t.Context(), sql)
		if got := state(t, err); got != "42501" {
			t.Errorf("%s: %q (%v), want insufficient_privilege", sql, got, err)
		}
	}
}

func TestDaemonMayNotPublish(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	conn := pgtest.Conn(t, b.daemon)
	for _, sql := range []string{
		insertEvent,
		"select runnel.publish('order', '1', 'OrderPlaced', '{}')",
		"update runnel.outbox set payload = ''",
		"delete from runnel.outbox",
		"truncate runnel.outbox_default",
		"drop table runnel.outbox_default",
		"insert into runnel.control (pipeline, kind) values ('p', 'k')",
		"insert into runnel.event_type values ('a', 'b', decode(repeat('00', 32), 'hex'))",
		"delete from runnel.event_type",
		"delete from runnel.progress",
		"insert into runnel.schema_version values (99, 'x')",
		"select runnel.make_partition('x', 'default')",
		"alter publication runnel set (publish = 'delete')",
	} {
		_, err := conn.Exec(t.Context(), sql)
		if got := state(t, err); got != "42501" {
			t.Errorf("%s: %q (%v), want insufficient_privilege", sql, got, err)
		}
	}
	for _, sql := range []string{
		"select * from runnel.outbox",
		"select * from runnel.control",
		"select * from runnel.event_type",
		"select * from runnel.schema_version",
		"select * from runnel.partitions()",
		"select * from runnel.wal_position()",
		"insert into runnel.pipeline (name, slot, system_id) values ('p', 's', '1')",
		"update runnel.pipeline set snapshot = pg_current_snapshot(), snapshot_done = true, routes_hash = 'h'",
		"insert into runnel.epoch (epoch, system_id, timeline, begin_lsn) values (1, '1', 1, '0/0')",
		"insert into runnel.progress (pipeline, confirmed_lsn) values ('p', '0/1') on conflict (pipeline) do update set confirmed_lsn = excluded.confirmed_lsn",
		"insert into runnel.progress_partition (pipeline, topic, partition, position, ordinal) values ('p', 't', 0, '', 1)",
		"update runnel.progress_partition set ordinal = 2",
		"select pg_create_logical_replication_slot('" + b.Slot("own") + "', 'pgoutput')",
		"select pg_drop_replication_slot('" + b.Slot("own") + "')",
	} {
		run(t, conn, sql)
	}
}

// Rows are immutable even for their owner: in the root, in the default
// partition, in one made ahead, and in one made later.
func TestRowsAreImmutable(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	conn := b.Conn(t) // superuser: grants do not stop it
	publish(t, conn, "1")
	run(t, conn, "select runnel.make_partition('outbox_late', $$for values from ('2020-01-01 00:00+00') to ('2020-01-02 00:00+00')$$)")
	for _, at := range []string{"2020-01-01 12:00+00", "1999-01-01 12:00+00"} {
		run(t, conn, "insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload, inserted_at) values ('order', '1', 'OrderPlaced', 2, '{}', $1::text::timestamptz)", at)
	}
	today := pgtest.Value[string](t, b.DB, "select name from runnel.partitions() where now() >= lower and now() < upper")
	reject := func(tables ...string) {
		for _, table := range tables {
			for _, sql := range []string{"update runnel." + table + " set inserted_at = now()", "delete from runnel." + table, "truncate runnel." + table} {
				_, err := conn.Exec(t.Context(), sql)
				if got := state(t, err); got != "RN003" {
					t.Errorf("%s: %q (%v), want RN003", sql, got, err)
				}
			}
		}
	}
	reject("outbox", "outbox_default", "outbox_late", today)
	adopted := pgtest.Value[string](t, b.DB, "select runnel.adopt_default()")
	run(t, conn, "insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload, inserted_at) values ('order', '1', 'OrderPlaced', 2, '{}', '1999-05-05')")
	reject("outbox", adopted, "outbox_default")
	run(t, conn, "insert into runnel.control (pipeline, kind) values ('p', 'k')")
	reject("control")
}
