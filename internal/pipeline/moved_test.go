package pipeline_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
)

// carry copies what a query gives into a table of another database, as a dump would.
func carry(t *testing.T, from, to *pgtest.DB, query, table string) {
	t.Helper()
	var rows bytes.Buffer
	if _, err := from.Conn(t).PgConn().CopyTo(t.Context(), &rows, "copy ("+query+") to stdout"); err != nil {
		t.Fatal(err)
	}
	if _, err := to.Conn(t).PgConn().CopyFrom(t.Context(), &rows, "copy "+table+" from stdin"); err != nil {
		t.Fatal(err)
	}
}

// TestMovedDatabase: a database that was loaded from a dump on another server goes on
// under the pipeline's name when somebody says so: what it lacks is given up, what it has
// is in the topics once, and who stays with the former server is refused.
func TestMovedDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	w.cfg.Recheck = time.Second
	_, stop := w.start()
	w.write(1, 300)
	w.complete("order")
	// A second pipeline of the database has published less.
	second := *w
	second.cfg.Name, second.cfg.Slot, second.cfg.Namespace = w.cfg.Name+"_second", w.db.Slot("second"), pulsartest.NamespaceName(t)
	_, stopSecond := second.start()
	second.complete("order")
	stopSecond()
	pgtest.Eventually(t, 30*time.Second, func() bool {
		return pgtest.Value[int](t, w.db, `select coalesce(sum(ordinal), 0)::int from runnel.progress_partition where pipeline = $1`, w.cfg.Name) == 300
	}, "progress saved")
	w.db.Exec(t, `create table saved as select * from runnel.progress`)
	w.write(301, 40)
	w.complete("order")
	stop()
	former := w.cfg

	// The dump lacks some of what was published after progress was saved last.
	db := pgtest.NewOn(t, stacktest.Up(t, devstack.Options{Postgres: true}).PostgresURL)
	moved := newWorldOn(t, db)
	moved.cfg.Name, moved.cfg.Namespace, moved.cfg.Recheck = w.cfg.Name, w.cfg.Namespace, time.Second
	moved.init()
	for table, query := range map[string]string{
		"runnel.outbox":             `select * from runnel.outbox where not convert_from(payload, 'UTF8')::jsonb ->> 'order_id' in ('305', '306', '307', '308', '309', '310')`,
		"runnel.pipeline":           `select * from runnel.pipeline`,
		"runnel.epoch":              `select * from runnel.epoch`,
		"runnel.progress":           `select * from saved`,
		"runnel.progress_partition": `select * from runnel.progress_partition`,
	} {
		carry(t, w.db, db, query, table)
	}
	db.Exec(t, `update runnel.pipeline set slot = $1 where name = $2`, moved.cfg.Slot, w.cfg.Name) // the test's own names
	movedSecond := *moved
	movedSecond.cfg.Name, movedSecond.cfg.Slot, movedSecond.cfg.Namespace = second.cfg.Name, db.Slot("second"), second.cfg.Namespace
	db.Exec(t, `update runnel.pipeline set slot = $1 where name = $2`, movedSecond.cfg.Slot, second.cfg.Name)
	db.Exec(t, `select setval('runnel.outbox_seq', (select max(seq) from runnel.outbox))`)
	p, stop := moved.start()
	if st := reaches(t, p, pipeline.Halted, "EPOCH_CHANGED"); !strings.Contains(st.Remedy, "runnel slot repair") {
		t.Error(st.Remedy)
	}
	moved.write(341, 20)
	// What the database lacks, it has not published. It says nothing of the other pipeline.
	plan, err := pipeline.PlanRepair(t.Context(), movedSecond.cfg)
	if err != nil || plan.Fork == nil || plan.Fork.Lost != 0 || plan.Slot == nil || plan.Slot.Missing != 54 {
		t.Fatalf("%+v %+v, %v", plan.Fork, plan.Slot, err)
	}
	if _, err := pipeline.Repair(t.Context(), movedSecond.cfg, plan.Hash); err != nil {
		t.Fatal(err)
	}
	_, stopSecond = movedSecond.start()
	movedSecond.complete("order")
	stopSecond()

	plan, err = pipeline.PlanRepair(t.Context(), moved.cfg)
	if err != nil || plan.Fork == nil || plan.Slot == nil {
		t.Fatalf("%+v, %v", plan, err)
	}
	// All of the transaction that it has a part of, and what was published behind that.
	if plan.Fork.System == "" || plan.Fork.Lost != 40 || plan.Slot.Missing != 54 || plan.Slot.Complete != nil || plan.Slot.Code != "EPOCH_CHANGED" {
		t.Fatalf("%+v %+v", plan.Fork, plan.Slot)
	}
	stop()
	if _, err := pipeline.Repair(t.Context(), moved.cfg, plan.Hash); err != nil {
		t.Fatal(err)
	}
	stayed := w.cfg // at the former server, before any daemon has begun at the new one
	w.cfg = former
	refused, end := w.start()
	reaches(t, refused, pipeline.Halted, "EPOCH_AHEAD")
	end()
	w.cfg = stayed
	p, stop = moved.start()
	reaches(t, p, pipeline.Streaming, "")
	moved.write(361, 50)
	moved.caughtUp()
	stop()
	_, stop = moved.start() // and the audit finds nothing
	moved.write(411, 10)
	moved.caughtUp()
	pgtest.Eventually(t, 30*time.Second, func() bool {
		return pgtest.Value[bool](t, db, `select snapshot is not null from runnel.progress where pipeline = $1`, moved.cfg.Name)
	}, "progress saved")
	stop()

	// Its slot is lost: what came with the dump is not published once more.
	db.Exec(t, `select pg_drop_replication_slot($1)`, moved.cfg.Slot)
	moved.write(421, 10)
	if plan, err = pipeline.PlanRepair(t.Context(), moved.cfg); err != nil || plan.Fork != nil || plan.Slot == nil || plan.Slot.Missing != 10 {
		t.Fatalf("%+v %+v, %v", plan.Fork, plan.Slot, err)
	}
	if _, err := pipeline.Repair(t.Context(), moved.cfg, plan.Hash); err != nil {
		t.Fatal(err)
	}
	_, stop = moved.start()
	moved.caughtUp()
	stop()

	held, all := map[string]int{}, 0
	moved.read("order", func(m *broker.Incoming, s position.Stamp) {
		all++
		if s.Epoch == 2 || orderNumber(m.Payload) <= 300 {
			held[m.Properties["id"]]++
		}
	})
	have := pgtest.Values[string](t, db, "select id::text from runnel.outbox")
	for _, id := range have {
		if held[id] != 1 {
			t.Errorf("%s is in the topic %d times", id, held[id])
		}
	}
	if len(held) != len(have) || all != len(have)+40 {
		t.Errorf("%d events in the database, %d in the topic, of which the history holds %d", len(have), all, len(held))
	}
	if plan, err := pipeline.PlanRepair(t.Context(), moved.cfg); err != nil || plan.Hash != "" {
		t.Errorf("again: %+v, %v", plan, err)
	}
	moved.moveBack(pgtest.New(t), all)
}

// moveBack loads the database on the server that it came from, where its history has an
// epoch already. all are the events in the topic.
func (w *world) moveBack(db *pgtest.DB, all int) {
	t := w.t
	t.Helper()
	back := newWorldOn(t, db)
	back.cfg.Name, back.cfg.Namespace, back.cfg.Recheck = w.cfg.Name, w.cfg.Namespace, time.Second
	back.init()
	for _, table := range []string{"runnel.outbox", "runnel.pipeline", "runnel.epoch", "runnel.progress", "runnel.progress_partition"} {
		carry(t, w.db, db, "select * from "+table, table)
	}
	db.Exec(t, `delete from runnel.pipeline where name <> $1`, back.cfg.Name)
	db.Exec(t, `update runnel.pipeline set slot = $1`, back.cfg.Slot)
	db.Exec(t, `select setval('runnel.outbox_seq', (select max(seq) from runnel.outbox))`)
	p, stop := back.start()
	reaches(t, p, pipeline.Halted, "EPOCH_CHANGED")
	stop()
	plan, err := pipeline.PlanRepair(t.Context(), back.cfg)
	if err != nil || plan.Fork == nil || plan.Fork.Lost != 0 || plan.Slot == nil || plan.Slot.Missing != 0 {
		t.Fatalf("%+v %+v, %v", plan.Fork, plan.Slot, err)
	}
	if _, err := pipeline.Repair(t.Context(), back.cfg, plan.Hash); err != nil {
		t.Fatal(err)
	}
	_, stop = back.start()
	back.write(431, 20)
	back.caughtUp()
	stop()
	if n := len(back.stamps("order")); n != all+20 {
		t.Errorf("%d events in the topic, want %d and 20 more", n, all)
	}
}
