package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
)

// load writes events, of rising numbers, until it is stopped.
type load struct {
	w    *world
	next int
	stop func()
}

func (w *world) load(first int) *load {
	w.t.Helper()
	l := &load{w: w, next: first}
	conn := w.db.Conn(w.t)
	quit := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
			}
			_, err := conn.Exec(context.Background(), `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
				select 'order', (k % 17)::text, 'OrderShipped', 2, convert_to(jsonb_build_object(
					'order_id', k::text, 'carrier', 'DHL', 'shipped_at', now())::text, 'UTF8')
				from generate_series($1::int, $1::int + 9) k`, l.next)
			if err != nil {
				w.t.Errorf("write: %v", err)
				return
			}
			l.next += 10
		}
	})
	l.stop = sync.OnceFunc(func() { close(quit); group.Wait() })
	w.t.Cleanup(l.stop)
	return l
}

// dropSlot drops the pipeline's slot by hand, whoever streams from it.
func (w *world) dropSlot(conn *pgx.Conn) {
	w.t.Helper()
	pgtest.Eventually(w.t, 30*time.Second, func() bool {
		_, _ = conn.Exec(w.t.Context(), `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active`, w.cfg.Slot)
		// Busy again, if the daemon was faster.
		_, err := conn.Exec(w.t.Context(), `select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1`, w.cfg.Slot)
		return err == nil
	}, "the slot is dropped")
}

func (w *world) makeSlot(conn *pgx.Conn) {
	w.t.Helper()
	if _, err := conn.Exec(w.t.Context(), `select pg_create_logical_replication_slot($1, 'pgoutput')`, w.cfg.Slot); err != nil {
		w.t.Fatal(err)
	}
}

// inOrder requires that the numbers of each key's events rise.
func (w *world) inOrder(local string) {
	w.t.Helper()
	last := map[string]int{}
	w.read(local, func(m *broker.Incoming, s position.Stamp) {
		n := orderNumber(m.Payload)
		if n <= last[m.Key] {
			w.t.Errorf("at %s: order %d of key %s after %d", s, n, m.Key, last[m.Key])
		}
		last[m.Key] = n
	})
}

// orderNumber is the order_id of an event of load: digits, behind the branch and a length.
func orderNumber(payload []byte) int {
	text := string(payload[2 : 2+payload[1]/2])
	n, err := strconv.Atoi(text)
	if err != nil {
		panic(fmt.Sprintf("payload %q: %v", payload, err))
	}
	return n
}

// TestRepair: a slot that is no longer what it was halts the daemon before anything is
// published past the gap. Repaired under load, nothing is lost, repeated or out of order.
func TestRepair(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, code string
		harm       func(w *world, conn *pgx.Conn)
		disorder   bool // something was published past the gap before it was noticed
	}{
		{"dropped", "SLOT_MISSING", func(w *world, conn *pgx.Conn) { w.dropSlot(conn) }, false},
		{"remade", "SLOT_MOVED", func(w *world, conn *pgx.Conn) { w.dropSlot(conn); w.makeSlot(conn) }, false},
		{"remade without a limit", "SLOT_GAP", func(w *world, conn *pgx.Conn) {
			w.dropSlot(conn)
			w.db.Exec(w.t, `update runnel.pipeline set slot_limit = null`)
			w.makeSlot(conn)
		}, true},
		{"without a record", "SLOT_MISSING", func(w *world, conn *pgx.Conn) {
			w.dropSlot(conn)
			w.db.Exec(w.t, `delete from runnel.pipeline`)
		}, false},
		{"without record and progress", "SLOT_MISSING", func(w *world, conn *pgx.Conn) {
			w.dropSlot(conn)
			w.db.Exec(w.t, `delete from runnel.pipeline; delete from runnel.progress; delete from runnel.progress_partition`)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, p, _ := newPublished(t)
			l := w.load(101)
			conn := w.db.Conn(t)
			for round := range 2 {
				stopped := c.code == "SLOT_GAP" // there the slot has moved before anybody looks
				c.harm(w, conn)
				st := reaches(t, p, pipeline.Halted, c.code)
				if !strings.Contains(st.Remedy, "runnel slot repair") {
					t.Errorf("%s: %s", st.Message, st.Remedy)
				}
				plan, err := pipeline.PlanRepair(t.Context(), w.cfg)
				if err != nil || plan.Hash == "" || plan.Fork != nil || plan.Slot == nil || plan.Slot.Code != c.code || len(plan.Slot.Uncovered) != 0 {
					t.Fatalf("%+v, %v", plan, err)
				}
				if !stopped && (plan.Slot.Missing == 0 || len(plan.Slot.Events) == 0 || plan.Slot.Oldest == nil) {
					t.Errorf("round %d: %+v", round, plan.Slot)
				}
				if _, err := pipeline.Repair(t.Context(), w.cfg, "0123"); !errors.Is(err, pipeline.ErrRepairStale) {
					t.Error(err)
				}
				done, err := pipeline.Repair(t.Context(), w.cfg, plan.Hash)
				if err != nil || done.Slot.Missing < plan.Slot.Missing {
					t.Fatalf("%+v, planned %+v: %v", done.Slot, plan.Slot, err)
				}
				t.Logf("%d events were missing", done.Slot.Missing)
				reaches(t, p, pipeline.Streaming, "")
				pgtest.Eventually(t, 30*time.Second, func() bool {
					return pgtest.Value[bool](t, w.db, "select snapshot_done from runnel.pipeline")
				}, "what was missing is published")
			}
			l.stop()
			w.complete("order")
			if !c.disorder {
				w.inOrder("order")
			}
			if plan, err := pipeline.PlanRepair(t.Context(), w.cfg); err != nil || plan.Hash != "" {
				t.Errorf("again: %+v, %v", plan, err)
			}
		})
	}
}
