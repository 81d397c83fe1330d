package consumertest

import (
	"sync"
	"time"
)

// Start is the time at which a Clock begins.
var Start = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// Clock is a test's time. It stands still until it is advanced. Several harnesses
// may share one, and it is safe for concurrent use: what a handler calls for the
// time may be Clock.Now.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at Start.
func NewClock() *Clock { return &Clock{now: Start} }

// Now returns the time, in UTC.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock and does nothing else: Harness.Advance lets the
// projection live through the time.
func (c *Clock) Advance(d time.Duration) { c.set(c.Now().Add(d)) }

func (c *Clock) set(to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = to.UTC()
}
