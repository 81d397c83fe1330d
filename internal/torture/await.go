package torture

import (
	"context"
	"errors"
	"time"
)

// errNotInTime is what await returns when its limit has passed.
var errNotInTime = errors.New("it did not happen in time")

// await looks every 20 ms until cond holds.
func await(ctx context.Context, limit time.Duration, cond func(context.Context) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errNotInTime)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond(ctx) {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}
