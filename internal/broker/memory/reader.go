package memory

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// reader implements broker.Reader.
type reader struct {
	conn      *Conn
	partition *partition
	next      int // index into the partition's log
	closed    bool
}

// Read implements broker.Client.
func (c *Conn) Read(_ context.Context, q broker.Partition, from broker.Start) (broker.Reader, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	p, err := c.b.partition(q)
	if err != nil {
		return nil, err
	}
	return &reader{conn: c, partition: p, next: p.index(from)}, nil
}

// index finds where a Start lies in the log.
func (p *partition) index(from broker.Start) int {
	if from.Latest {
		return len(p.log)
	}
	for i, m := range p.log {
		if !from.Skips(m.ID) {
			return i
		}
	}
	return len(p.log)
}

// Next implements broker.Reader.
func (r *reader) Next(ctx context.Context) (*broker.Incoming, error) {
	err := r.conn.b.await(ctx, func() bool {
		r.next = max(r.next, r.partition.trimmed)
		return r.closed || r.conn.closed || r.next < len(r.partition.log)
	})
	if err != nil {
		return nil, err
	}
	defer r.conn.b.mu.Unlock()
	if r.closed || r.conn.closed {
		return nil, errClosed
	}
	m := r.partition.log[r.next].Incoming
	r.next++
	return &m, nil
}

// HasNext implements broker.Reader.
func (r *reader) HasNext(context.Context) (bool, error) {
	r.conn.b.mu.Lock()
	defer r.conn.b.mu.Unlock()
	if r.closed || r.conn.closed {
		return false, errClosed
	}
	return max(r.next, r.partition.trimmed) < len(r.partition.log), nil
}

// Close implements broker.Reader.
func (r *reader) Close() {
	r.conn.b.mu.Lock()
	defer r.conn.b.mu.Unlock()
	r.closed = true
	r.conn.b.notify()
}
