package consumers

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Discard marks a handler's error as one that no retry will cure: the event is
// counted, logged and passed over for good. What the handler wrote for it is
// rolled back. Discard(nil) is nil.
func Discard(err error) error {
	if err == nil {
		return nil
	}
	return &discarded{err}
}

type discarded struct{ err error }

func (d *discarded) Error() string { return "discarded: " + d.err.Error() }
func (d *discarded) Unwrap() error { return d.err }

// RetryAfter marks a handler's error as temporary and says when to try again,
// in place of Config.Retry's schedule. Meanwhile the event's partition waits.
// A duration that is not positive means at once. RetryAfter(d, nil) is nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &retryLater{max(d, 0), err}
}

type retryLater struct {
	after time.Duration
	err   error
}

func (r *retryLater) Error() string { return r.err.Error() }
func (r *retryLater) Unwrap() error { return r.err }

// pause returns how long to wait after the given number of failed tries, the
// last of which failed with err.
func (r Retry) pause(tries int, err error) time.Duration {
	var later *retryLater
	if errors.As(err, &later) {
		return later.after
	}
	if errors.Is(err, ErrUndecodable) {
		return r.Delays[len(r.Delays)-1] // the bytes won't change
	}
	if tries < r.Immediate {
		return 0
	}
	return r.Delays[min(tries-r.Immediate, len(r.Delays)-1)]
}

// sleeper waits for d or until ctx ends, which it reports.
type sleeper func(ctx context.Context, d time.Duration) error

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Bounds of the pauses of an outage, and how often it is logged.
const (
	outageFirst = 100 * time.Millisecond
	outageLast  = 30 * time.Second
	outageLog   = 30 * time.Second
)

// outage waits while something outside is down: pauses double up to a limit,
// the log gets a line at the beginning, one every now and then, and one when
// it is over. Not safe for concurrent use.
type outage struct {
	what   string
	log    *slog.Logger
	sleep  sleeper
	tries  int
	silent time.Duration // waited since the last line
}

// wait reports err and pauses.
func (o *outage) wait(ctx context.Context, err error) error {
	if o.tries == 0 || o.silent >= outageLog {
		o.log.Warn(o.what+" failed, trying again", keyError, err, keyTries, o.tries+1)
		o.silent = 0
	}
	d := min(outageFirst<<min(o.tries, 20), outageLast)
	d -= rand.N(d / 4) // instances do not come back all at once
	o.tries++
	o.silent += d
	return o.sleep(ctx, d)
}

// over ends the outage, if there was one.
func (o *outage) over() {
	if o.tries > 0 {
		o.log.Info(o.what+" works again", keyTries, o.tries)
		o.tries, o.silent = 0, 0
	}
}
