package capture

import (
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// proxy stands between a source and the server. It can go silent, as a
// half-open connection does, and deliver bytes in small slices.
type proxy struct {
	mu     sync.Mutex
	frozen bool
	closed bool
	slice  int
	conns  []net.Conn
}

// through returns the fixture's URL by way of a new proxy.
func (f *fixture) through(t *testing.T, p *proxy) string {
	t.Helper()
	u, err := url.Parse(f.config.URL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			front, err := l.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("tcp", server)
			if err != nil {
				_ = front.Close()
				continue
			}
			if !p.keep(front, back) {
				return
			}
			wg.Go(func() { p.copy(back, front) })
			wg.Go(func() { p.copy(front, back) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		p.closed = true
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		wg.Wait()
	})
	u.Host = l.Addr().String()
	return u.String()
}

// keep has the connections closed when the test ends, or now if it has ended:
// pgx asks the server to cancel on a connection of its own, at any time.
func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	p.conns = append(p.conns, conns...)
	return true
}

func (p *proxy) copy(to, from net.Conn) {
	defer func() { _ = to.Close() }()
	b := make([]byte, 32<<10)
	for {
		p.mu.Lock()
		size := len(b)
		if p.slice > 0 {
			size = p.slice
		}
		p.mu.Unlock()
		n, err := from.Read(b[:size])
		p.mu.Lock()
		frozen := p.frozen
		p.mu.Unlock()
		if n > 0 && !frozen { // when frozen it is lost, and the connection looks open
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) set(frozen bool, slice int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen, p.slice = frozen, slice
}

// TestHalfOpen: a connection on which nothing comes any more ends the run in
// bounded time, and the next one resumes.
func TestHalfOpen(t *testing.T) {
	f := newFixture(t)
	direct := f.config
	var p proxy
	f.config.URL = f.through(t, &p)
	f.config.ReceiveTimeout = 400 * time.Millisecond
	r := follow(t, f.open(t))
	f.insert(t, 1, 1, "a")
	r.await(1)
	p.set(true, 0)
	f.insert(t, 2, 2, "a")
	err := r.wait()
	mustCode(t, err, ErrSilent)
	if Halts(err) {
		t.Fatal("halts")
	}
	// The server still thinks that its connection lives: end it.
	f.Exec(t, "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active", r.Slot())
	f.awaitFree(t)
	f.config = direct
	again := follow(t, f.open(t))
	pgtest.Eventually(t, patience, func() bool { return strings.HasSuffix(payloads(again.received()), "2") })
	again.mustStop()
}

// TestSlices: bytes come a few at a time.
func TestSlices(t *testing.T) {
	f := newFixture(t)
	var p proxy
	f.config.URL = f.through(t, &p)
	s := f.open(t)
	f.insert(t, 1, 50, "a")
	p.set(false, 7)
	r := follow(t, s)
	rows := r.await(50)
	checkSet(t, f, rows)
	checkPositions(t, rows)
	r.mustStop()
}
