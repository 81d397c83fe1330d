package capture

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/netfault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// through leads the fixture's connections through a proxy.
func (f *fixture) through(t *testing.T) *netfault.Proxy {
	t.Helper()
	u, err := url.Parse(f.config.URL)
	if err != nil {
		t.Fatal(err)
	}
	p, err := netfault.Listen(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	u.Host = p.Addr()
	f.config.URL = u.String()
	return p
}

// TestHalfOpen: a connection on which nothing comes any more ends the run in
// bounded time, and the next one resumes.
func TestHalfOpen(t *testing.T) {
	f := newFixture(t)
	direct := f.config
	p := f.through(t)
	f.config.ReceiveTimeout = 400 * time.Millisecond
	r := follow(t, f.open(t))
	f.insert(t, 1, 1, "a")
	r.await(1)
	p.Set(netfault.HalfOpen)
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
	p := f.through(t)
	s := f.open(t)
	f.insert(t, 1, 50, "a")
	p.Set(netfault.Sliced)
	r := follow(t, s)
	rows := r.await(50)
	checkSet(t, f, rows)
	checkPositions(t, rows)
	r.mustStop()
}
