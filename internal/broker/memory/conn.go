package memory

import (
	"context"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// Conn is one connection. It implements broker.Client.
type Conn struct {
	b      *Broker
	name   string
	number int

	// Guarded by b.mu.
	closed    bool
	paused    bool
	producers map[*producer]struct{}
	consumers map[*consumer]struct{}
}

func now() time.Time { return time.Now().Truncate(time.Millisecond) }

var errClosed = broker.ErrLost.New("the connection to the broker is closed")

// Acquire implements broker.Client.
func (c *Conn) Acquire(ctx context.Context, r broker.AcquireRequest, waiting func(holder string)) (broker.Producer, broker.Tail, error) {
	q, err := c.exclusive(ctx, r, waiting)
	if err != nil {
		return nil, broker.Tail{}, err
	}
	tail, err := q.readTail(ctx, r)
	if err != nil {
		q.Close()
		return nil, broker.Tail{}, err
	}
	return q, tail, nil
}

// exclusive waits for the right to publish.
func (c *Conn) exclusive(ctx context.Context, r broker.AcquireRequest, waiting func(holder string)) (*producer, error) {
	b, told := c.b, ""
	for {
		b.mu.Lock()
		p, err := c.usable(r)
		if err != nil {
			b.mu.Unlock()
			return nil, err
		}
		if p.owner == nil && !c.paused {
			q := newProducer(c, p, r.Producer)
			b.mu.Unlock()
			return q, nil
		}
		holder, changed := "nobody", b.changed // a connection that was dropped hears nothing
		if p.owner != nil {
			holder = p.owner.String()
		}
		b.mu.Unlock()
		if waiting != nil && holder != told {
			waiting(holder)
			told = holder
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, broker.ErrNotOwner.Wrap(context.Cause(ctx), "%s is held by %s", r.Partition, holder)
		}
	}
}

// usable checks what does not depend on who holds the partition. b.mu is held.
func (c *Conn) usable(r broker.AcquireRequest) (*partition, error) {
	if c.closed {
		return nil, errClosed
	}
	p, err := c.b.partition(r.Partition)
	switch {
	case err != nil:
		return nil, err
	case p.topic.terminated:
		return nil, broker.ErrTopicTerminated.New("%s", r.Partition)
	case !p.topic.deduplication:
		return nil, broker.ErrDeduplicationOff.New("%s", r.Partition)
	case r.Schema != nil && p.topic.version(r.Schema) < 0:
		return nil, broker.ErrSchemaMissing.New("%s: schema %s is not registered", r.Partition, r.Schema.Name)
	}
	return p, nil
}

// readTail waits until pending adds have settled, and reads.
func (q *producer) readTail(ctx context.Context, r broker.AcquireRequest) (broker.Tail, error) {
	b, p := q.conn.b, q.partition
	if err := b.await(ctx, func() bool { return len(p.pending) == 0 || q.cause != nil }); err != nil {
		return broker.Tail{}, err
	}
	defer b.mu.Unlock()
	if q.cause != nil {
		return broker.Tail{}, q.cause
	}
	q.after = len(p.log)
	back := r.ReadBack()
	kept := p.log[p.trimmed:]
	start := len(kept)
	for start > 0 {
		start--
		s, err := kept[start].Stamp()
		if err == nil && s.Less(r.Replayed) && (r.Producer == "" || kept[start].Incoming.Producer == r.Producer) {
			break
		}
	}
	for _, m := range kept[start:] {
		if err := back.Add(&m.Incoming); err != nil {
			return broker.Tail{}, err
		}
	}
	tail := back.Tail()
	tail.MaxMessageSize = p.topic.limit(b)
	return tail, nil
}

func (t *topic) limit(b *Broker) int {
	if t.maxSize > 0 {
		return min(t.maxSize, b.maxSize)
	}
	return b.maxSize
}

// Partitions implements broker.Client.
func (c *Conn) Partitions(_ context.Context, name string) (int, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	t := c.b.topics[name]
	if t == nil {
		return 0, broker.ErrTopicMissing.New("%s does not exist", name)
	}
	return len(t.partitions), nil
}

// MaxMessageSize implements broker.Client.
func (c *Conn) MaxMessageSize(_ context.Context, name string) (int, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	t := c.b.topics[name]
	if t == nil {
		return 0, broker.ErrTopicMissing.New("%s does not exist", name)
	}
	return t.limit(c.b), nil
}

// Close implements broker.Client.
func (c *Conn) Close() {
	c.b.mu.Lock()
	c.closed = true
	var producers []*producer
	for q := range c.producers {
		producers = append(producers, q)
	}
	for k := range c.consumers {
		k.leave()
	}
	c.consumers = nil
	c.b.notify()
	c.b.mu.Unlock()
	for _, q := range producers {
		q.Close()
	}
}
