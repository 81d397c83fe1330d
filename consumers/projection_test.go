package consumers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

func TestProjectionAppliesInOrder(t *testing.T) {
	w := newWorld(t, 3)
	want := make(truth)
	w.fill(t, 400, want)
	first := broker.Partition{Topic: orders, Index: 0}
	w.publish(t, first, "o0-0", OrderShipped{N: 1}) // nobody handles it
	var seen sync.Map
	r := start(t, w.config(t), func(p *consumers.Projection) {
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
			seen.LoadOrStore(e.Payload.N, e.Message)
			return fold(ctx, tx, e)
		})
	})
	w.appliedAll(t)
	w.fill(t, 50, want)
	w.appliedAll(t)
	w.requireCopy(t, want)
	pgtest.Eventually(t, patience, func() bool { return w.ackedOf(first, "fulfilment") == len(w.logs[first]) }, "everything acknowledged")
	if n := w.saw.applied.Load(); n != 450 || w.saw.unknown.Load() != 1 || w.saw.failed.Load() != 0 {
		t.Errorf("observer saw %d applied, %d unknown, %d failed", n, w.saw.unknown.Load(), w.saw.failed.Load())
	}
	for _, s := range r.Status() {
		if !s.Connected || s.Err != nil || s.Ordinal != uint64(len(w.logs[broker.Partition{Topic: orders, Index: s.Partition}])) {
			t.Errorf("status %+v", s)
		}
	}
	r.stop(t)
	got, _ := seen.Load(int64(3))
	m := got.(consumers.Message)
	if m.Type != "OrderPlaced" || m.AggregateType != "order" || m.AggregateID != "o0-3" || m.Topic != orders || m.Partition != 0 ||
		m.Ordinal != 2 || m.Position.IsZero() || m.OccurredAt.IsZero() || m.Headers["traceparent"] != "00-1" || len(m.Headers) != 1 {
		t.Errorf("message %+v", m)
	}
	if n := pgtest.Value[int](t, w.db, "select count(*)::int from fulfilment.fold"); n != len(want) {
		t.Errorf("%d rows", n)
	}
}

// Killed between commit and acknowledgement, an event comes again and the
// position skips it.
func TestProjectionSkipsWhatWasCommitted(t *testing.T) {
	w := newWorld(t, 2)
	want := make(truth)
	w.fill(t, 100, want)
	w.change(func() { w.dropAcks = true })
	for round := range 3 {
		r := start(t, w.config(t), handleFold)
		w.fill(t, 20, want)
		w.appliedAll(t)
		r.stop(t)
		w.requireCopy(t, want)
		if n := w.saw.applied.Load(); n != int64(120+20*round) {
			t.Errorf("round %d: %d applied", round, n)
		}
	}
	if w.saw.skipped.Load() == 0 || w.saw.failed.Load() != 0 {
		t.Errorf("%d skipped, %d failed", w.saw.skipped.Load(), w.saw.failed.Load())
	}
}

// The partitions go to and fro between instances, acknowledgements are lost
// and connections break; instances go on applying what they hold.
func TestTwoInstancesApplyOnce(t *testing.T) {
	w := newWorld(t, 2)
	want := make(truth)
	w.change(func() { w.dropAcks = true })
	var calls atomic.Int64
	register := func(p *consumers.Projection) {
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
			switch n := calls.Add(1); {
			case n%13 == 0:
				w.handOver(broker.Partition{Topic: orders, Index: int(n) % 2}, "fulfilment")
			case n%31 == 0:
				w.breakAll()
			case n%17 == 0: // the connection dies in the middle
				_, err := tx.Exec(ctx, "select pg_terminate_backend(pg_backend_pid())")
				return err
			}
			return fold(ctx, tx, e)
		})
	}
	for range 2 {
		cfg := w.config(t)
		cfg.BatchSize = 7
		p, err := consumers.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		register(p)
		p.SetSleep(w.pauses.sleep)
		startProjection(t, p)
	}
	for range 10 {
		w.fill(t, 40, want)
		w.appliedAll(t)
	}
	w.requireCopy(t, want)
	if w.saw.skipped.Load() == 0 {
		t.Error("nothing was delivered twice: the test shows nothing")
	}
}

func TestDiscardMovesOn(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 20, want)
	of := broker.Partition{Topic: orders}
	w.publish(t, of, "o0-1", OrderPlaced{N: -1})
	w.fill(t, 20, want)
	r := start(t, w.config(t), func(p *consumers.Projection) {
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
			if err := fold(ctx, tx, e); err != nil || e.Payload.N >= 0 {
				return err
			}
			return fmt.Errorf("order %s: %w", e.AggregateID, consumers.Discard(errHandler))
		})
	})
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
	if w.saw.discarded.Load() != 1 || w.saw.failed.Load() != 0 || w.saw.applied.Load() != 40 {
		t.Errorf("%d discarded, %d failed, %d applied", w.saw.discarded.Load(), w.saw.failed.Load(), w.saw.applied.Load())
	}
}

// Each thing that a handler can do wrong is undone, and its event tried again.
func TestHandlerMistakes(t *testing.T) {
	codes := map[string]*fault.Code{
		"panics": consumers.ErrHandlerPanic, "hides an error": consumers.ErrHandlerTx, "commits": consumers.ErrHandlerTx,
		"rolls back": consumers.ErrHandlerTx, "leaves rows open": consumers.ErrHandlerTx,
	}
	for name, mistake := range map[string]func(context.Context, pgx.Tx) error{
		"panics": func(context.Context, pgx.Tx) error { panic("oh") },
		"hides an error": func(ctx context.Context, tx pgx.Tx) error {
			_, _ = tx.Exec(ctx, "select 1/0")
			return nil
		},
		"commits":    func(ctx context.Context, tx pgx.Tx) error { _ = tx.Commit(ctx); return nil },
		"rolls back": func(ctx context.Context, tx pgx.Tx) error { _ = tx.Rollback(ctx); return nil },
		"leaves rows open": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Query(ctx, "select generate_series(1, 10)")
			return err
		},
		"asks for time": func(context.Context, pgx.Tx) error { return consumers.RetryAfter(0, errHandler) },
		"breaks a deferred constraint": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "create temp table d (i int unique deferrable initially deferred) on commit drop; insert into d values (1), (1)")
			return err
		},
		"exceeds its own deadline": func(ctx context.Context, tx pgx.Tx) error {
			ctx, cancel := context.WithTimeout(ctx, 1)
			defer cancel()
			_, err := tx.Exec(ctx, "select pg_sleep(10)")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			want := make(truth)
			w.fill(t, 9, want)
			var tries atomic.Int64
			cfg := w.config(t)
			cfg.Retry = consumers.Retry{Immediate: 3, Delays: []time.Duration{1, 1, 1, 1}}
			cfg.Observer.Failed = func(_ consumers.Message, _ int, _ time.Duration, err error) {
				w.saw.failed.Add(1)
				if code := codes[name]; code != nil && !errors.Is(err, code) {
					t.Errorf("failed with %v, want %s", err, code.ID)
				}
			}
			p, err := consumers.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
				if err := fold(ctx, tx, e); err != nil || e.Payload.N != 4 || tries.Add(1) > 5 {
					return err
				}
				return mistake(ctx, tx)
			})
			r := startProjection(t, p)
			w.unparked(t)
			r.stop(t)
			w.requireCopy(t, want)
			if n := w.saw.failed.Load(); n < 4 || n > 5 { // the first may have been in a batch
				t.Errorf("%d failed tries", n)
			}
		})
	}
}

// A transaction that a statement ended can't be mended: rows may be there
// without their position. It ends the projection also when the handler hides it.
func TestHandlerEndsTransactionByStatement(t *testing.T) {
	for _, statement := range []string{"commit", "rollback", "begin; insert into fold values ('x', 'h', 1); commit"} {
		for _, answer := range []error{nil, errHandler} {
			for name, register := range map[string]func(*consumers.Projection){
				"one": func(p *consumers.Projection) {
					consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, _ consumers.Event[OrderPlaced]) error {
						_, err := tx.Exec(ctx, statement)
						return errors.Join(err, answer)
					})
				},
				"batch": func(p *consumers.Projection) {
					consumers.HandleBatch(p, func(ctx context.Context, tx pgx.Tx, _ []consumers.Message) error {
						_, err := tx.Exec(ctx, statement)
						return errors.Join(err, answer)
					})
				},
			} {
				t.Run(fmt.Sprintf("%s/%s/%v", name, statement, answer), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, 1)
					w.fill(t, 1, make(truth))
					cfg := w.config(t)
					cfg.Topics = []string{"order"}
					if err := start(t, cfg, register).wait(t); !errors.Is(err, consumers.ErrHandlerTx) {
						t.Errorf("Run: %v", err)
					}
					if at := w.positions(t)[0]; at != 0 || w.saw.applied.Load() != 0 {
						t.Errorf("the position is %d, %d are reported", at, w.saw.applied.Load())
					}
				})
			}
		}
	}
}

// So it is with an event that was parked, whose position is past it.
func TestHandlerEndsTransactionOfParkedEvent(t *testing.T) {
	w := newWorld(t, 1)
	w.fill(t, 1, make(truth))
	cfg := w.config(t)
	cfg.Retry = soon
	var calls atomic.Int64
	r := start(t, cfg, func(p *consumers.Projection) {
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, _ consumers.Event[OrderPlaced]) error {
			if calls.Add(1) <= int64(soon.Immediate) {
				return errHandler
			}
			_, err := tx.Exec(ctx, "commit")
			return err
		})
	})
	if err := r.wait(t); !errors.Is(err, consumers.ErrHandlerTx) {
		t.Errorf("Run: %v", err)
	}
	if n := len(w.parked(t)); n != 1 {
		t.Errorf("%d are parked", n)
	}
}

// A migration that ends its transaction would leave its tables without a version.
func TestMigrateEndsTransactionByStatement(t *testing.T) {
	w := newWorld(t, 1)
	cfg := w.config(t)
	cfg.Migrate = func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "begin; create table fold (id text); commit")
		return err
	}
	if err := start(t, cfg, handleFold).wait(t); !errors.Is(err, consumers.ErrMigrate) || !strings.Contains(err.Error(), "ended the transaction") {
		t.Errorf("Run: %v", err)
	}
}

// Losing against other transactions is no failure of the event.
func TestConflictsAreDoneAgain(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 5, want)
	var left atomic.Int64
	left.Store(8)
	r := start(t, w.config(t), func(p *consumers.Projection) {
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
			if err := fold(ctx, tx, e); err != nil || left.Add(-1) < 0 {
				return err
			}
			_, err := tx.Exec(ctx, "do $$ begin raise exception 'lost' using errcode = '40001'; end $$")
			return err
		})
		p.SetSleep(w.pauses.sleep)
	})
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
	if n := w.saw.failed.Load(); n != 0 {
		t.Errorf("%d failed tries", n)
	}
}

func TestBatchHandler(t *testing.T) {
	w := newWorld(t, 2)
	want := make(truth)
	w.fill(t, 200, want)
	w.publish(t, broker.Partition{Topic: orders}, "o0-0", OrderShipped{N: 1})
	w.publish(t, broker.Partition{Topic: orders}, "o0-0", OrderPlaced{N: -1})
	cfg := w.config(t)
	cfg.Topics = []string{"order"}
	var largest, shippedSeen atomic.Int64
	r := start(t, cfg, func(p *consumers.Projection) {
		consumers.HandleBatch(p, func(ctx context.Context, tx pgx.Tx, batch []consumers.Message) error {
			largest.Store(max(largest.Load(), int64(len(batch))))
			for _, m := range batch {
				if m.AggregateType != "order" {
					return fmt.Errorf("aggregate type %q", m.AggregateType)
				}
				if m.Type == "OrderShipped" {
					shippedSeen.Store(1)
					continue
				}
				var e OrderPlaced
				if err := m.Decode(&e); err != nil {
					return err
				}
				if e.N < 0 {
					return consumers.Discard(errHandler)
				}
				if err := fold(ctx, tx, consumers.Event[OrderPlaced]{Message: m, Payload: e}); err != nil {
					return err
				}
			}
			return nil
		})
	})
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
	if w.saw.discarded.Load() != 1 || w.saw.applied.Load() != 201 || shippedSeen.Load() != 1 || largest.Load() > 100 {
		t.Errorf("%d discarded, %d applied, largest batch %d", w.saw.discarded.Load(), w.saw.applied.Load(), largest.Load())
	}
}

func TestObserverLags(t *testing.T) {
	var a consumers.Applied
	if err := json.Unmarshal([]byte(`{"At":"2026-01-01T00:00:05Z","Message":{"OccurredAt":"2026-01-01T00:00:01Z","PublishedAt":"2026-01-01T00:00:03Z"}}`), &a); err != nil {
		t.Fatal(err)
	}
	if a.SinceOccurred() != 4e9 || a.SincePublished() != 2e9 {
		t.Errorf("%v, %v", a.SinceOccurred(), a.SincePublished())
	}
}
