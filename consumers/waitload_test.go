package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/token"
)

// lags are the times from an event's commit to the return of WaitFor.
type lags struct {
	mu      sync.Mutex
	applied map[string]time.Time // by key
	all     []time.Duration
}

func (l *lags) observe(a consumers.Applied) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.applied[a.Message.AggregateID] = a.At
}

func (l *lags) returned(key string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if was, ok := l.applied[key]; ok { // else WaitFor was faster than the observer
		l.all = append(l.all, at.Sub(was))
	}
}

// at returns a quantile.
func (l *lags) at(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.all)
	return l.all[int(q*float64(len(l.all)-1))]
}

func (l *lags) String() string {
	return fmt.Sprintf("from commit to return: median %v, 99 %% %v, longest %v", l.at(0.5), l.at(0.99), l.at(1))
}

// On a quiet topic WaitFor returns within 50 ms of the commit.
func TestWaitForOnAQuietTopic(t *testing.T) {
	w := newWorld(t, 2)
	l := lags{applied: make(map[string]time.Time)}
	cfg := w.waiting(t)
	cfg.Observer.Applied = l.observe
	r := w.started(t, cfg, func(p *consumers.Projection) {
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
			if _, err := tx.Exec(ctx, "select pg_sleep($1)", float64(e.Payload.N%7)/100); err != nil { // the pauses between looks grow
				return err
			}
			return fold(ctx, tx, e)
		})
	})
	db := w.db.Pool(t)
	for i := range 60 {
		key := fmt.Sprint(i)
		text := tokenOf(t, w.write(t, orders, key, OrderPlaced{N: int64(i)}))
		if err := consumers.WaitFor(t.Context(), db, "fulfilment", text); err != nil {
			t.Fatal(err)
		}
		l.returned(key, time.Now())
	}
	t.Log(&l)
	if l.at(0.5) > 50*time.Millisecond { // the rest is the machine's
		t.Errorf("%v", &l)
	}
	r.stop(t)
}

// beside returns another key of the same partition.
func (w *world) beside(key string) string {
	n := uint32(w.partitions[orders])
	for i := 0; ; i++ {
		other := fmt.Sprint("beside ", i)
		if token.KeyHash(other)%n == token.KeyHash(key)%n {
			return other
		}
	}
}

// 10,000 times under load: when WaitFor returns nil, the row is in the copy for
// every connection. Meanwhile handlers fail, connections break, and partitions go
// to and fro between two instances.
func TestWaitForUnderLoad(t *testing.T) {
	testWaitForUnderLoad(t, 10*time.Minute, 10_000, 64)
}

// The same where positions alone prove it, because later events follow.
func TestWaitForByPositionUnderLoad(t *testing.T) {
	testWaitForUnderLoad(t, 0, 1000, 16)
}

func testWaitForUnderLoad(t *testing.T, window time.Duration, tries int64, waiters int) {
	if testing.Short() {
		tries /= 10
	}
	w := newWorld(t, 4)
	l := lags{applied: make(map[string]time.Time)}
	var calls atomic.Int64
	for range 2 {
		cfg := w.config(t)
		cfg.WaitWindow, cfg.Observer.Applied = window, l.observe
		w.started(t, cfg, func(p *consumers.Projection) {
			consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
				if err := fold(ctx, tx, e); err != nil {
					return err
				}
				switch n := calls.Add(1); {
				case n%499 == 0:
					w.handOver(broker.Partition{Topic: orders, Index: int(n) % 4}, "fulfilment")
				case n%701 == 0:
					return errHandler
				case n%1999 == 0: // the connection dies in the middle
					_, err := tx.Exec(ctx, "select pg_terminate_backend(pg_backend_pid())")
					return err
				}
				return nil
			})
		})
	}
	pool := poolWith(t, w.db.URL(), func(c *pgxpool.Config) { c.MaxConns = 12 })
	readers := poolWith(t, w.db.URL(), func(c *pgxpool.Config) { c.MaxConns = 4 })
	began := time.Now()
	var next atomic.Int64
	var group errgroup.Group
	for range waiters {
		group.Go(func() error {
			for n := next.Add(1); n <= tries; n = next.Add(1) {
				key := fmt.Sprint("o", n)
				text := tokenOf(t, w.write(t, orders, key, OrderPlaced{N: n}))
				err := consumers.WaitFor(t.Context(), pool, "fulfilment", text)
				if window == 0 && errors.Is(err, consumers.ErrNoWaiting) {
					w.write(t, orders, w.beside(key), OrderPlaced{N: n})
					for errors.Is(err, consumers.ErrNoWaiting) {
						err = consumers.WaitFor(t.Context(), pool, "fulfilment", text)
					}
				}
				if err != nil {
					return err
				}
				l.returned(key, time.Now())
				var there bool
				err = readers.QueryRow(t.Context(), "select exists (select from fulfilment.fold where id = $1)", key).Scan(&there)
				if err != nil {
					return err
				}
				if !there {
					return fmt.Errorf("WaitFor returned before event %d was in the copy", n)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("%d tries in %v, %.0f/s; %v", tries, took, float64(tries)/took.Seconds(), &l)
}
