package consumers_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// losingConn loses the answer to every third COMMIT: the server carries it
// out, and the client never learns.
type losingConn struct {
	net.Conn
	commits *atomic.Int64
	lose    bool
}

func (c *losingConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("commit\x00")) && c.commits.Add(1)%3 == 0 {
		c.lose = true
	}
	return c.Conn.Write(b)
}

func (c *losingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.lose && err == nil { // the server has answered
		_ = c.Close()
		return 0, errors.New("connection lost")
	}
	return n, err
}

func TestUnknownCommitOutcome(t *testing.T) {
	w := newWorld(t, 2)
	want := make(truth)
	var commits atomic.Int64
	cfg := w.config(t)
	cfg.BatchSize = 5
	cfg.Database = poolWith(t, w.db.URL(), func(c *pgxpool.Config) {
		c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return &losingConn{Conn: conn, commits: &commits}, err
		}
	})
	r := start(t, cfg, func(p *consumers.Projection) {
		handleFold(p)
		p.SetSleep(w.pauses.sleep)
	})
	w.fill(t, 200, want)
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
	if w.saw.failed.Load() != 0 || w.saw.skipped.Load() == 0 || commits.Load() < 10 {
		t.Errorf("%d failed tries, %d skipped, %d commits", w.saw.failed.Load(), w.saw.skipped.Load(), commits.Load())
	}
}

// A database that goes away is waited for: nobody's try is counted.
func TestDatabaseOutage(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 30, want)
	var refuse, cut atomic.Bool
	refuse.Store(true)
	var refused, dialed atomic.Int64
	cfg := w.config(t)
	cfg.Database = poolWith(t, w.db.URL(), func(c *pgxpool.Config) {
		c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			switch {
			case refuse.Load() && dialed.Add(1)%2 == 0:
				return nil, os.ErrDeadlineExceeded // as a dial that times out
			case refuse.Load():
				return nil, errors.New("nobody there")
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
	})
	r := start(t, cfg, func(p *consumers.Projection) {
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
			if e.Payload.N == 17 && cut.CompareAndSwap(false, true) {
				refuse.Store(true)
				cfg.Database.Reset()
				_ = tx.Conn().Close(ctx)
			}
			return fold(ctx, tx, e)
		})
		p.SetSleep(func(ctx context.Context, d time.Duration) error {
			if refuse.Load() && refused.Add(1)%5 == 0 {
				refuse.Store(false)
			}
			return w.pauses.sleep(ctx, d)
		})
	})
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
	if w.saw.failed.Load() != 0 || refused.Load() != 10 {
		t.Errorf("%d failed tries, %d pauses while it was down", w.saw.failed.Load(), refused.Load())
	}
}

// dyingConn breaks when it is written to for the last time.
type dyingConn struct {
	net.Conn
	left int // writes
}

func (c *dyingConn) Write(b []byte) (int, error) {
	if c.left--; c.left == 0 {
		return 0, errors.Join(errors.New("connection reset"), c.Close())
	}
	return c.Conn.Write(b)
}

// A connection that is lost while the projection is set up, wherever, is waited for
// like one that can't be made.
func TestConnectionLostInSetup(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 5, want)
	const worst = 30
	var dialed atomic.Int64
	cfg := w.config(t)
	cfg.Database = poolWith(t, w.db.URL(), func(c *pgxpool.Config) {
		c.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			if n := int(dialed.Add(1)); err == nil && n <= worst {
				return &dyingConn{conn, n}, nil
			}
			return conn, err
		}
	})
	r := start(t, cfg, func(p *consumers.Projection) {
		handleFold(p)
		p.SetSleep(w.pauses.sleep)
	})
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
	if dialed.Load() <= worst {
		t.Skipf("set up within %d connections", dialed.Load())
	}
}

// An instance that freezes in a transaction loses its partition: Postgres ends
// the transaction, the other instance applies, and the frozen one skips when
// it wakes up.
func TestFrozenInstance(t *testing.T) {
	w := newWorld(t, 1)
	of := broker.Partition{Topic: orders}
	want := make(truth)
	w.fill(t, 10, want)
	frozen, thawed := make(chan struct{}), make(chan struct{})
	thaw := sync.OnceFunc(func() { close(thawed) })
	defer thaw()
	var calls atomic.Int64
	cfg := w.config(t)
	cfg.TransactionIdle = time.Second
	handler := func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
		if calls.Add(1) == 4 {
			close(frozen)
			<-thawed
		}
		return fold(ctx, tx, e)
	}
	register := func(p *consumers.Projection) {
		consumers.Handle(p, handler)
		p.SetSleep(w.pauses.sleep)
	}
	a := start(t, cfg, register)
	<-frozen
	cfg.Database = w.db.Pool(t)
	b := start(t, cfg, register)
	pgtest.Eventually(t, patience, func() bool { s := b.Status(); return len(s) == 1 && s[0].Connected }, "the second instance is there")
	w.handOver(of, "fulfilment")
	w.appliedAll(t)
	thaw()
	pgtest.Eventually(t, patience, func() bool { s := a.Status()[0]; return s.Ordinal == 10 && s.Err == nil }, "the first sees what happened")
	a.stop(t)
	b.stop(t)
	w.requireCopy(t, want)
}

// Topics that are not there yet are waited for.
func TestTopicAppearsLater(t *testing.T) {
	w := newWorld(t, 1)
	w.change(func() { delete(w.partitions, orders) })
	r := start(t, w.config(t), func(p *consumers.Projection) {
		handleFold(p)
		p.SetSleep(w.pauses.sleep)
	})
	pgtest.Eventually(t, patience, func() bool { return len(w.pauses.seen()) > 2 }, "it waits")
	w.change(func() { w.partitions[orders] = 1 })
	want := make(truth)
	w.fill(t, 3, want)
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)
}

func TestRunEndsWhileDatabaseIsDown(t *testing.T) {
	w := &world{scripted: newScripted(map[string]int{orders: 1})}
	cfg := consumers.Config{Name: "a", Database: idlePool(t)}
	cfg.Broker.SetBroker(w, w)
	w.pauses.hold = make(chan struct{})
	r := start(t, cfg, func(p *consumers.Projection) {
		handleFold(p)
		p.SetSleep(w.pauses.sleep)
	})
	pgtest.Eventually(t, patience, func() bool { return len(w.pauses.seen()) == 1 }, "it waits")
	r.stop(t)
}
