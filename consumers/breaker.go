package consumers

import "sync/atomic"

// breakerLimit is how many events in a row may be put aside before none is.
const breakerLimit = 10

// breaker tells events that fail from a world in which everything fails: a table
// that is gone, a service that handlers call and that is down, a bad release. Then
// parking would put the whole stream aside, so nothing is parked, and partitions
// wait, until some event is applied. Safe for concurrent use.
type breaker struct {
	failed atomic.Int64 // events, since one was applied
}

// opens counts an event that failed for good or for a while, and reports whether
// it is not to be put aside.
func (b *breaker) opens() bool { return b.failed.Add(1) > breakerLimit }

// isOpen reports whether events are not to be put aside.
func (b *breaker) isOpen() bool { return b.failed.Load() > breakerLimit }

// passed notes that an event was applied.
func (b *breaker) passed() {
	if b.failed.Load() != 0 {
		b.failed.Store(0)
	}
}
