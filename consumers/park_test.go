package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// failing folds, and refuses what it is told to.
type failing struct {
	mu      sync.Mutex
	refuses func(OrderPlaced) error // nil: nothing
	tries   map[int64]int           // by N
}

func (f *failing) set(refuses func(OrderPlaced) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuses = refuses
}

func (f *failing) tried(n int64) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tries[n]
}

func (f *failing) handle(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
	if err := fold(ctx, tx, e); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tries == nil {
		f.tries = make(map[int64]int)
	}
	f.tries[e.Payload.N]++
	if f.refuses != nil {
		return f.refuses(e.Payload)
	}
	return nil
}

func (f *failing) register(p *consumers.Projection) { consumers.Handle(p, f.handle) }

// only refuses one event.
func only(n int64) func(OrderPlaced) error {
	return func(e OrderPlaced) error {
		if e.N == n {
			return errHandler
		}
		return nil
	}
}

// A failing event keeps its key waiting, and nothing else; when it is cured, its
// key goes on in order.
func TestFailingEventHoldsItsKey(t *testing.T) {
	w := newWorld(t, 2)
	want := make(truth)
	w.fill(t, 60, want)
	cfg := w.config(t)
	cfg.Retry = consumers.Retry{Immediate: 3, Delays: []time.Duration{time.Millisecond, 50 * time.Millisecond, time.Hour}}
	var f failing
	f.set(only(20))
	r := start(t, cfg, f.register)
	w.appliedAll(t)
	pgtest.Eventually(t, patience, func() bool { all := w.parked(t); return len(all) > 0 && all[0].Tries == 5 }, "five tries")
	if n := w.ackedOf(broker.Partition{Topic: orders}, "fulfilment"); n != 30 {
		t.Errorf("%d messages are acknowledged", n)
	}
	var behind []int64
	for i, e := range w.parked(t) {
		if e.Message.AggregateID != "o0-6" || e.Message.Type != "OrderPlaced" || e.Message.Headers["traceparent"] != "00-1" {
			t.Errorf("parked: %+v", e)
		}
		if i == 0 && (e.State != "retrying" || e.Error != errHandler.Error() || e.NextTry.Before(time.Now().Add(time.Minute)) || e.Tries != 5) {
			t.Errorf("the one that failed: %+v", e)
		}
		if i > 0 && e.State != "behind" {
			t.Errorf("behind it: %+v", e)
		}
		behind = append(behind, int64(e.Message.Ordinal))
	}
	if want := []int64{11, 18, 25}; !slices.Equal(behind, want) {
		t.Errorf("parked are %v, want %v", behind, want)
	}
	if s := r.Status()[0]; s.Parked != 3 || s.Err != nil {
		t.Errorf("status %+v", s)
	}
	w.fill(t, 20, want)
	w.appliedAll(t)
	f.set(nil)
	n, err := consumers.RetryParked(t.Context(), w.db.Conn(t), "fulfilment", consumers.ParkedFilter{Key: "o0-6"})
	if n != 1 || err != nil {
		t.Errorf("%d keys are due: %v", n, err)
	}
	w.unparked(t)
	r.stop(t)
	w.requireCopy(t, want)
	if w.saw.behind.Load() < 2 || w.saw.parked.Load() != 0 || w.saw.failed.Load() < 5 {
		t.Errorf("%d behind, %d parked, %d failed", w.saw.behind.Load(), w.saw.parked.Load(), w.saw.failed.Load())
	}
}

// An event that is not cured in time waits for a person, through restarts, and is
// not tried meanwhile. Then it and all behind it are applied in order, or it is
// discarded and those behind it are applied.
func TestParkedForAPerson(t *testing.T) {
	for _, discard := range []bool{false, true} {
		t.Run(fmt.Sprintf("discard %v", discard), func(t *testing.T) {
			w := newWorld(t, 1)
			want := make(truth)
			w.fill(t, 14, want)
			cfg := w.config(t)
			cfg.Retry = soon
			var f failing
			f.set(only(7))
			r := start(t, cfg, f.register)
			pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() == 1 }, "parked")
			r.stop(t)
			tries := f.tried(7)
			r = start(t, cfg, f.register)
			w.fill(t, 300, want) // every seventh is of the same key
			w.appliedAll(t)
			if all := w.parked(t); len(all) != 44 || all[0].State != "parked" || all[0].Tries != 4 || !all[0].NextTry.IsZero() {
				t.Fatalf("%d are parked, the first: %+v", len(all), all[0])
			}
			if f.tried(7) != tries {
				t.Error("tried while it waits for a person")
			}
			var n int
			var err error
			filter := consumers.ParkedFilter{ID: w.parked(t)[0].Message.ID}
			if discard {
				n, err = consumers.DiscardParked(t.Context(), w.db.Conn(t), "fulfilment", filter)
				want = w.without(t, filter.ID)
			} else {
				f.set(nil)
				n, err = consumers.RetryParked(t.Context(), w.db.Conn(t), "fulfilment", filter)
			}
			if n != 1 || err != nil {
				t.Errorf("%d: %v", n, err)
			}
			w.unparked(t)
			r.stop(t)
			w.requireCopy(t, want)
		})
	}
}

// without folds everything that was published but one event.
func (w *world) without(t *testing.T, id uuid.UUID) truth {
	t.Helper()
	w.mu.Lock()
	logs := maps.Clone(w.logs)
	w.mu.Unlock()
	want := make(truth)
	for _, log := range logs {
		for _, m := range log {
			var e OrderPlaced
			if err := consumers.ReadAndDecode(t.Context(), w.scripted, m, &e); err != nil {
				t.Fatal(err)
			}
			if m.Properties["id"] != id.String() {
				want.add(m.Key, e)
			}
		}
	}
	return want
}

// Bytes that can't be read won't change: they are parked at once, as they are.
func TestUndecodable(t *testing.T) {
	w := newWorld(t, 1)
	of := broker.Partition{Topic: orders}
	whole := w.message(t, of, "a", OrderPlaced{N: 1, Note: "fine"})
	cut := *whole
	cut.Payload = whole.Payload[:len(whole.Payload)-2]
	w.append(of, &cut)
	want := make(truth)
	w.fill(t, 7, want)
	w.publish(t, of, "a", OrderPlaced{N: 2})
	r := start(t, w.config(t), handleFold)
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
	all := w.parked(t)
	if len(all) != 2 || all[0].State != "parked" || all[0].Code != "EVENT_UNDECODABLE" || all[0].Tries != 1 || all[1].State != "behind" {
		t.Fatalf("parked are %+v", all)
	}
	if !slices.Equal(all[0].Payload, cut.Payload) || all[0].SchemaVersion != cut.SchemaVersion || all[0].Message.ID.String() != cut.Properties["id"] {
		t.Errorf("kept: %+v", all[0])
	}
	if w.saw.parked.Load() != 1 || w.saw.failed.Load() != 0 {
		t.Errorf("%d parked, %d failed", w.saw.parked.Load(), w.saw.failed.Load())
	}
}

// When everything fails no event is at fault: a few are put aside, then the
// partition waits, and goes on by itself.
func TestEverythingFails(t *testing.T) {
	w := newWorld(t, 2)
	w.pauses.hold = make(chan struct{})
	want := make(truth)
	for i := range 100 {
		at, key := i%2, fmt.Sprintf("key %d", i)
		e := OrderPlaced{N: int64(i)}
		w.publish(t, broker.Partition{Topic: orders, Index: at}, key, e)
		want.add(key, e)
	}
	cfg := w.config(t)
	cfg.Retry = consumers.Retry{Immediate: 2, Delays: []time.Duration{time.Hour}}
	p, err := consumers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var f failing
	f.set(func(OrderPlaced) error { return errHandler })
	f.register(p)
	p.SetSleep(w.pauses.sleep)
	r := startProjection(t, p)
	pgtest.Eventually(t, patience, func() bool { return len(w.pauses.seen()) == 2 }, "both partitions wait: %v", func() string { return fmt.Sprint(w.pauses.seen(), r.Status()) })
	if n := len(w.parked(t)); n != 10 {
		t.Errorf("%d are parked", n)
	}
	for _, s := range r.Status() {
		if !errors.Is(s.Err, errHandler) {
			t.Errorf("status %+v", s)
		}
	}
	f.set(nil)
	close(w.pauses.hold)
	w.appliedAll(t)
	if _, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); err != nil {
		t.Fatal(err)
	}
	w.unparked(t)
	r.stop(t)
	w.requireCopy(t, want)
}

// What is put aside is bounded: then the partition waits.
func TestParkLimit(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 70, want)
	cfg := w.config(t)
	cfg.Retry, cfg.ParkLimit = soon, 5
	var f failing
	f.set(only(3))
	r := start(t, cfg, f.register)
	pgtest.Eventually(t, patience, func() bool { s := r.Status(); return len(s) > 0 && errors.Is(s[0].Err, consumers.ErrParkedFull) }, "full")
	if at := w.positions(t)[0]; at != 4+7*5-1 {
		t.Errorf("the partition waits after %d", at)
	}
	f.set(nil)
	if _, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{Type: "OrderPlaced"}); err != nil {
		t.Fatal(err)
	}
	r.stop(t) // it waits in the middle of a batch, and looks again when it is started
	r = start(t, cfg, f.register)
	w.unparked(t)
	r.stop(t)
	w.requireCopy(t, want)
}

// RetryAfter keeps only its key waiting, as often as it is returned.
func TestRetryAfterHoldsItsKey(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 28, want)
	cfg := w.config(t)
	cfg.Retry = soon
	var f failing
	f.set(func(e OrderPlaced) error {
		if e.N == 5 && f.tries[5] < 12 {
			return consumers.RetryAfter(time.Millisecond, errHandler)
		}
		return nil
	})
	r := start(t, cfg, f.register)
	w.unparked(t)
	r.stop(t)
	w.requireCopy(t, want)
	if w.saw.parked.Load() != 0 || f.tried(5) != 12 {
		t.Errorf("%d parked after %d tries", w.saw.parked.Load(), f.tried(5))
	}
}

// A batch's handler sees parked events one by one, then those behind them.
func TestParkedInBatches(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 140, want)
	cfg := w.config(t)
	cfg.Retry, cfg.Topics, cfg.BatchSize = soon, []string{"order"}, 20
	var sick atomic.Bool
	sick.Store(true)
	r := start(t, cfg, func(p *consumers.Projection) {
		consumers.HandleBatch(p, func(ctx context.Context, tx pgx.Tx, all []consumers.Message) error {
			for _, m := range all {
				var e OrderPlaced
				if err := m.Decode(&e); err != nil {
					return err
				}
				if sick.Load() && e.N == 30 {
					return errHandler
				}
				if err := fold(ctx, tx, consumers.Event[OrderPlaced]{Message: m, Payload: e}); err != nil {
					return err
				}
			}
			return nil
		})
	})
	pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() == 1 }, "parked")
	w.appliedAll(t)
	sick.Store(false)
	if _, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); err != nil {
		t.Fatal(err)
	}
	w.unparked(t)
	r.stop(t)
	w.requireCopy(t, want)
}

// Handlers fail now and then, or until they are mended; partitions go to and fro
// between two instances, connections to the broker and the database break. In the
// end every event was applied once, in the order of its key.
func TestParkedConverges(t *testing.T) {
	w := newWorld(t, 2)
	want := make(truth)
	w.change(func() { w.dropAcks = true })
	var calls atomic.Int64
	var mended atomic.Bool
	for range 2 {
		cfg := w.config(t)
		cfg.BatchSize, cfg.Retry = 7, soon
		start(t, cfg, func(p *consumers.Projection) {
			consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
				if err := fold(ctx, tx, e); err != nil {
					return err
				}
				n := calls.Add(1)
				switch {
				case n%29 == 0:
					w.handOver(broker.Partition{Topic: orders, Index: int(n) % 2}, "fulfilment")
				case n%61 == 0:
					w.breakAll()
				case n%37 == 0: // the connection dies in the middle
					_, err := tx.Exec(ctx, "select pg_terminate_backend(pg_backend_pid())")
					return err
				case n%11 == 0:
					return errHandler
				case n%101 == 0:
					panic("now and then")
				case e.Payload.N%43 == 5 && !mended.Load():
					return fmt.Errorf("always: %w", errHandler)
				}
				return nil
			})
		})
	}
	for range 5 {
		w.fill(t, 60, want)
		w.appliedAll(t)
	}
	pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() > 0 }, "an event to be parked")
	if w.saw.behind.Load() == 0 {
		t.Error("nothing was behind another: the test shows nothing")
	}
	mended.Store(true)
	conn := w.db.Conn(t)
	pgtest.Eventually(t, patience, func() bool { // until none was parked in between
		left, err := consumers.CountParked(t.Context(), conn, "fulfilment", consumers.ParkedFilter{})
		if err == nil && left > 0 {
			_, err = consumers.RetryParked(t.Context(), conn, "fulfilment", consumers.ParkedFilter{})
		}
		return err == nil && left == 0
	}, "all to be applied")
	w.unparked(t)
	w.requireCopy(t, want)
}

// The handler is called as often as tries are counted, also when the event that
// fails is one of many in a transaction, and when others of its key are behind it.
func TestTriesAreCalls(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 70, want) // ten keys, seven events each
	cfg := w.config(t)
	cfg.Retry = consumers.Retry{Immediate: 3, Delays: []time.Duration{time.Millisecond, time.Millisecond}}
	var f failing
	f.set(only(3))
	r := start(t, cfg, f.register)
	w.appliedAll(t)
	pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() == 1 }, "parked")
	r.stop(t)
	parked := w.parked(t)
	if len(parked) < 2 || parked[0].State != "parked" || parked[1].State != "behind" {
		t.Fatalf("parked: %+v", parked)
	}
	if parked[0].Tries != 5 || f.tried(3) != 5 {
		t.Errorf("%d tries are counted, and the handler was called %d times, want 5", parked[0].Tries, f.tried(3))
	}
}
