package demo

import (
	"slices"
	"time"
)

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
