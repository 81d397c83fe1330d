package consumers

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// Discard marks a handler's error as one that no retry will cure: the event is
// counted, logged and passed over for good, not parked. What the handler wrote for it is
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

// RetryAfter marks a handler's error as temporary and says when to try again, in
// place of the schedule of retries and as often as it is returned. Meanwhile the
// later events of the same key wait, and no others; in Subscribe, the partition
// does. A duration that is not positive leaves it to the schedule. RetryAfter(d, nil) is nil.
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

// next says whether an event is tried again after the given number of failed
// tries, the last of which failed with err, and after which pause.
func (r Retry) next(tries int, err error) (pause time.Duration, again bool) {
	var later *retryLater
	switch {
	case errors.As(err, &later) && later.after > 0:
		return later.after, true
	case errors.Is(err, ErrUndecodable):
		return 0, false // the bytes won't change
	case tries < r.Immediate:
		return 0, true
	case tries-r.Immediate < len(r.Delays):
		return r.Delays[tries-r.Immediate], true
	}
	return 0, false
}

// pause is next for what is tried for ever: the last delay repeats.
func (r Retry) pause(tries int, err error) time.Duration {
	if d, again := r.next(tries, err); again {
		return d
	}
	return r.Delays[len(r.Delays)-1]
}

// counted returns the number of tries after one that failed with err: those of
// RetryAfter do not count.
func counted(tries int, err error) int {
	if later, ok := errors.AsType[*retryLater](err); ok && later.after > 0 {
		return tries
	}
	return tries + 1
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
