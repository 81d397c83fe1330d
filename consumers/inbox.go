package consumers

import (
	"context"
	"sync"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// inbox holds what was received and not taken yet. It is bounded: put waits
// while it is full. One goroutine puts, one takes.
type inbox struct {
	maxCount, maxBytes int

	mu     sync.Mutex
	queue  []*broker.Incoming
	bytes  int
	err    error         // the receiver ended; set once
	filled chan struct{} // something came, or the receiver ended
	freed  chan struct{} // everything was taken
}

func newInbox(count, bytes int) *inbox {
	return &inbox{maxCount: count, maxBytes: bytes,
		filled: make(chan struct{}, 1), freed: make(chan struct{}, 1)}
}

// put adds m, as soon as there is room.
func (b *inbox) put(ctx context.Context, m *broker.Incoming) error {
	for {
		b.mu.Lock()
		room := len(b.queue) == 0 ||
			len(b.queue) < b.maxCount && b.bytes+len(m.Payload) <= b.maxBytes
		if room {
			b.queue = append(b.queue, m)
			b.bytes += len(m.Payload)
		}
		b.mu.Unlock()
		if room {
			signal(b.filled)
			return nil
		}
		select {
		case <-b.freed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fail ends the inbox: take returns err when nothing is left.
func (b *inbox) fail(err error) {
	b.mu.Lock()
	b.err = err
	b.mu.Unlock()
	signal(b.filled)
}

// take returns everything that is there, waiting for a message; nothing, when
// none came for d.
func (b *inbox) take(ctx context.Context, d time.Duration) ([]*broker.Incoming, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		b.mu.Lock()
		batch, err := b.queue, b.err
		b.queue, b.bytes = nil, 0
		b.mu.Unlock()
		if len(batch) > 0 {
			signal(b.freed)
			return batch, nil
		}
		if err != nil {
			return nil, err
		}
		select {
		case <-b.filled:
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
