package capture

import (
	"context"
	"time"
)

// marking is the recording, under way, that the rows from before the slot are
// confirmed. It runs in a goroutine: a slow answer must not hold up the status
// messages.
type marking struct {
	result chan error
	cancel context.CancelFunc
}

// confirmable is what the server may be told: what is confirmed, but nothing
// beyond the consistent point until the end of the bootstrap is recorded, and
// never less than the slot has, which servers would take as a step back.
func (r *run) confirmable() uint64 {
	lsn := r.confirmed.Load()
	if !r.settled {
		lsn = min(lsn, r.rec.consistentPoint)
	}
	return max(lsn, r.flushed)
}

// bootstrapped reports that the rows from before the slot are confirmed, which
// is still to be recorded.
func (r *run) bootstrapped() bool {
	return r.delivered && r.confirmed.Load() >= r.rec.consistentPoint
}

// mark moves the recording of the bootstrap's end on, without waiting.
func (r *run) mark() error {
	switch {
	case r.marking != nil:
		select {
		case err := <-r.marking.result:
			return r.marked(err)
		default:
		}
	case r.bootstrapped():
		r.startMarking()
	}
	return nil
}

func (r *run) startMarking() {
	r.delivered = false
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), markLimit)
	m := &marking{result: make(chan error, 1), cancel: cancel}
	r.marking = m
	go func() { m.result <- r.SnapshotDone(ctx) }()
}

func (r *run) marked(err error) error {
	r.marking.cancel()
	r.marking = nil
	r.settled = err == nil
	return err
}

// endMarking waits for the recording for at most closeLimit. On a shutdown one
// that is due is started: the next start need not begin with those rows again.
func (r *run) endMarking() error {
	if r.marking == nil && r.ctx.Err() != nil && r.bootstrapped() {
		r.startMarking()
	}
	if r.marking == nil {
		return nil
	}
	giveUp := time.AfterFunc(closeLimit, r.marking.cancel)
	defer giveUp.Stop()
	return r.marked(<-r.marking.result)
}
