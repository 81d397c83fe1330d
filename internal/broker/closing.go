package broker

import (
	"context"
	"sync"
	"time"
)

// patience bounds, in operation timeouts, how long a closed connection's calls
// may keep the client: one call asks the broker several times.
const patience = 4

// closer is a reader or a consumer.
type closer interface{ Close() }

// Close drops all producers, readers and consumers and the connections. It
// waits for calls that are under way, at most about Config.OperationTimeout;
// what a broker that hangs still owes is then closed in the background.
func (p *Pulsar) Close() {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true // from here on within and track refuse
	open := make([]closer, 0, len(p.producers)+len(p.others))
	for q := range p.producers {
		open = append(open, q)
	}
	for c := range p.others {
		open = append(open, c)
	}
	p.mu.Unlock()
	p.rest.close()

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		settled := make(chan struct{})
		go func() {
			defer close(settled)
			var all sync.WaitGroup
			for _, c := range open {
				all.Go(c.Close)
			}
			all.Wait()
			p.wire.Close() // ends the requests of calls that are under way
			p.pending.Wait()
		}()
		wait(settled, patience*p.cfg.OperationTimeout)
		// Last: a call under way would open a connection in the client's
		// closed pool, which nothing closes again.
		p.client.Close()
	}()
	wait(ended, p.cfg.OperationTimeout)
}

// wait waits until c is closed, at most for d.
func wait(c <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c:
	case <-t.C:
	}
}

// errClosed is what calls on a closed connection get.
func errClosed() error { return ErrLost.New("the connection to the broker is closed") }

// track makes Close close c, too. When it is too late for that c is closed
// here. Only for calls that within runs: Close waits for those.
func (p *Pulsar) track(c closer) error {
	p.mu.Lock()
	if !p.closed {
		p.others[c] = struct{}{}
		p.mu.Unlock()
		return nil
	}
	p.mu.Unlock()
	c.Close()
	return errClosed()
}

func (p *Pulsar) untrack(c closer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.others, c)
}

// closeLater closes a reader's link in the background: the client may ask a broker
// that is gone. nil: it does not, because the connection is being closed, whose Close
// closes the reader, and the link with it.
func (p *Pulsar) closeLater(l *readerLink) (closed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.pending.Add(1)
	done := make(chan struct{})
	go func() {
		defer p.pending.Done()
		defer close(done)
		l.close()
	}()
	return done
}

// within runs a call of the client, which knows no context, and gives up
// waiting when ctx ends; discard then gets the late result. What is to be
// closed with the connection, call itself hands to track or producer.start.
func within[T any](ctx context.Context, p *Pulsar, call func() (T, error), discard func(T)) (T, error) {
	type result struct {
		value T
		err   error
	}
	var zero T
	if ctx.Err() != nil {
		return zero, context.Cause(ctx)
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return zero, errClosed()
	}
	p.pending.Add(1)
	p.mu.Unlock()
	done := make(chan result) // unbuffered: either we take the result, or discard gets it
	go func() {
		defer p.pending.Done()
		value, err := call()
		select {
		case done <- result{value, err}:
		case <-ctx.Done():
			if err == nil && discard != nil {
				discard(value)
			}
		}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	}
}
