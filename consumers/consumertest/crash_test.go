package consumertest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/consumers/consumertest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

// traces are what handlers leave outside of their transactions, by event.
type traces struct {
	mu      sync.Mutex
	handled map[string]int // calls that succeeded
	skipped map[string]int // deliveries of what was applied already
	fails   map[string]int // calls that are still to fail
}

func traceOf(m consumers.Message) string {
	return fmt.Sprintf("%s/%d %d", m.Topic[strings.LastIndexByte(m.Topic, '/')+1:], m.Partition, m.Ordinal)
}

// register adds handlers of two topics.
func (tr *traces) register(p *consumers.Projection) {
	leave := func(m consumers.Message, err error) error {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if tr.fails[m.AggregateID] > 0 {
			tr.fails[m.AggregateID]--
			return errBusy
		}
		tr.handled[traceOf(m)]++
		return err
	}
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
		return leave(e.Message, note(ctx, tx, e))
	})
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[ParcelPacked]) error {
		_, err := tx.Exec(ctx, "insert into orders (id) values ($1) on conflict (id) do update set applied = orders.applied + 1", e.AggregateID)
		return leave(e.Message, err)
	})
}

func newTraces(fails map[string]int) *traces {
	return &traces{handled: make(map[string]int), skipped: make(map[string]int), fails: fails}
}

// make is the projection's constructor.
func (tr *traces) make(cfg consumers.Config) (*consumers.Projection, error) {
	cfg.Observer.Skipped = func(m consumers.Message) {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		tr.skipped[traceOf(m)]++
	}
	return orders(consumers.Retry{Immediate: 1, Delays: []time.Duration{time.Second}}, tr.register)(cfg)
}

// Every event of every partition of every topic dies at each moment, so that a trace
// outside of the transaction shows wherever it is left: also of events that share
// their transaction with others, and of those that were put aside.
func TestCrashConcernsEveryEvent(t *testing.T) {
	const partitions, rounds, keys = 4, 3, 20
	onEach(t, func(t *testing.T, db consumertest.DB) {
		tr := newTraces(map[string]int{"o-3": 1, "p-5": 1})
		h := consumertest.New(t, db, tr.make, consumertest.WithPartitions(partitions))
		h.Crash()
		for range rounds {
			for k := range keys {
				h.Given(placed(fmt.Sprint("o-", k), 1, "x"),
					outbox.Event{AggregateID: fmt.Sprint("p-", k), Payload: ParcelPacked{}})
			}
			h.Apply()
		}
		h.Advance(time.Minute) // what failed
		h.RequireParked()
		h.RequireRows("select count(*), min(applied), max(applied) from orders", fmt.Sprintf("%d | %d | %d", 2*keys, rounds, rounds))
		parts := make(map[string]bool)
		for event, n := range tr.handled {
			parts[strings.Fields(event)[0]] = true
			if n < 2 {
				t.Errorf("%s was not rolled back", event)
			}
			if tr.skipped[event] == 0 {
				t.Errorf("%s was not delivered again", event)
			}
		}
		if len(tr.handled) != 2*keys*rounds || len(parts) != 2*partitions {
			t.Errorf("%d events in %d partitions", len(tr.handled), len(parts))
		}
	})
}

// An event dies although another one did in its partition, and none does twice.
func TestCrashOfOneEvent(t *testing.T) {
	tr := newTraces(nil)
	h := consumertest.New(t, pgtest.New(t).Pool(t), tr.make)
	h.Crash()
	for n := range 5 {
		h.Given(placed("o-1", int64(n), "x"))
		h.Apply()
	}
	for event, n := range tr.handled {
		if n != 2 || tr.skipped[event] != 1 {
			t.Errorf("%s: handled %d times, delivered again %d times", event, n, tr.skipped[event])
		}
	}
}

// What shares a transaction is a matter of chance; nothing lives that did not die.
func TestDeaths(t *testing.T) {
	d := consumertest.NewDeaths()
	for i, s := range []struct {
		ordinal, parked int64
		dies            bool
	}{
		{1, 0, true},
		{3, 0, true}, // two events that were not in the first
		{2, 0, true}, // nothing is known of what is durable: only the same will do
		{3, 0, false},
		{9, 0, true},
		{5, 0, false}, // were in the one before, all of them
		{8, 2, false},
		{10, 2, true}, // one of them was not
		{8, 1, true},  // a parked event is tried again
		{8, 0, true},  // so is the one behind it, that was not there before
		{8, 1, false},
		{8, 0, true}, // now alone
		{10, 2, false},
		{10, 2, true}, // a parked event failed again
		{10, 2, false},
	} {
		if got := d.BeforeCommit(s.ordinal, s.parked); got != s.dies {
			t.Fatalf("step %d: a commit up to %d with %d parked dies: %t", i, s.ordinal, s.parked, got)
		}
	}
	for i, s := range []struct {
		messages int64
		dies     bool
	}{{2, true}, {3, true}, {1, false}, {3, false}, {4, true}, {4, false}} {
		if got := d.BeforeAck(s.messages); got != s.dies {
			t.Fatalf("step %d: the acknowledgement of %d dies: %t", i, s.messages, got)
		}
	}
}
