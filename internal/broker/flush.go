package broker

import (
	"context"
	"time"
)

// Flush implements Producer.
func (r *producer) Flush() {
	select {
	case r.flush <- struct{}{}:
	default: // one is due already
	}
}

// flusher flushes BatchDelay after the first message of a batch, or at once
// when told. The client's own ticker would wake every producer a thousand
// times a second, also an idle one's.
func (r *producer) flusher() {
	defer close(r.flushed)
	delay := time.NewTimer(time.Hour)
	defer delay.Stop()
	for {
		select {
		case <-r.due:
			delay.Reset(r.owner.cfg.BatchDelay)
			select {
			case <-delay.C:
			case <-r.flush:
			case <-r.ended:
				return
			}
		case <-r.flush:
		case <-r.ended:
			return
		}
		// First the mark, then the flush: who finds the mark set has his
		// message in the client's queue before the flush.
		r.waiting.Store(false)
		_ = r.client.FlushWithCtx(&passingContext{Context: context.Background()})
	}
}

// passingContext lets the client's FlushWithCtx enqueue its request and then
// return instead of waiting for acknowledgements: it is done from the second
// question on.
type passingContext struct {
	context.Context
	asked bool
}

func (c *passingContext) Done() <-chan struct{} {
	if !c.asked {
		c.asked = true
		return nil
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

func (c *passingContext) Err() error {
	if c.asked {
		return context.Canceled
	}
	return nil
}
