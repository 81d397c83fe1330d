package demo

import (
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// latencies measures from the moment a writer sends its COMMIT to the moment the
// event was applied and committed in the copy. Both are read from this
// process's clock.
type latencies struct {
	mu     sync.Mutex
	at     map[uuid.UUID]time.Time // committing, not applied
	values []time.Duration
}

func newLatencies() *latencies { return &latencies{at: make(map[uuid.UUID]time.Time)} }

func (l *latencies) committing(id uuid.UUID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at[id] = time.Now()
}

// applied returns how long it took, if the event's commit was told.
func (l *latencies) applied(id uuid.UUID, at time.Time) (took time.Duration, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	began, known := l.at[id]
	if !known {
		return 0, false
	}
	delete(l.at, id)
	took = at.Sub(began)
	l.values = append(l.values, took)
	return took, true
}

func (l *latencies) quantiles(qs ...float64) []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]time.Duration, len(qs))
	for i, q := range qs {
		out[i] = quantile(l.values, q)
	}
	return out
}

// quantile returns the q-quantile of durations by the nearest-rank method, or 0
// of none. It sorts its argument.
func quantile(durations []time.Duration, q float64) time.Duration {
	if len(durations) == 0 {
		return 0
	}
	slices.Sort(durations)
	rank := int(q*float64(len(durations))+0.5) - 1
	return durations[min(max(rank, 0), len(durations)-1)]
}
