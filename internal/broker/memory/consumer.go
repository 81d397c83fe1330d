package memory

import (
	"context"
	"slices"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// subscription is a durable cursor with consumers, of which the first is
// active.
type subscription struct {
	acked     int // index of the first message that is not acknowledged; whole entries
	consumers []*consumer
}

// consumer implements broker.Consumer.
type consumer struct {
	conn      *Conn
	partition *partition
	sub       *subscription
	next      int // index of the next message to deliver, while active
	active    bool
	closed    bool
}

// Subscribe implements broker.Client.
func (c *Conn) Subscribe(_ context.Context, q broker.Partition, name string) (broker.Consumer, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	p, err := c.b.partition(q)
	if err != nil {
		return nil, err
	}
	s := p.subs[name]
	if s == nil {
		s = &subscription{}
		if p.subs == nil {
			p.subs = make(map[string]*subscription)
		}
		p.subs[name] = s
	}
	k := &consumer{conn: c, partition: p, sub: s}
	s.consumers = append(s.consumers, k)
	if c.consumers == nil {
		c.consumers = make(map[*consumer]struct{})
	}
	c.consumers[k] = struct{}{}
	return k, nil
}

// DeleteSubscription implements broker.Client.
func (c *Conn) DeleteSubscription(_ context.Context, topic, name string) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.closed {
		return errClosed
	}
	t := c.b.topics[topic]
	if t == nil {
		return nil
	}
	for _, p := range t.partitions {
		if s := p.subs[name]; s != nil && len(s.consumers) > 0 {
			return broker.ErrAdmin.New("deleting the subscription %s of %s, which has consumers", name, topic)
		}
	}
	for _, p := range t.partitions {
		delete(p.subs, name)
	}
	return nil
}

// Receive implements broker.Consumer.
func (k *consumer) Receive(ctx context.Context) (*broker.Incoming, error) {
	err := k.conn.b.await(ctx, func() bool {
		if k.closed || k.conn.closed {
			return true
		}
		if len(k.sub.consumers) == 0 || k.sub.consumers[0] != k {
			return false
		}
		if !k.active {
			k.active, k.next = true, k.sub.acked // delivery begins again at what is not acknowledged
		}
		k.next = max(k.next, k.partition.trimmed)
		return k.next < len(k.partition.log)
	})
	if err != nil {
		return nil, err
	}
	defer k.conn.b.mu.Unlock()
	if k.closed || k.conn.closed {
		return nil, errClosed
	}
	m := k.partition.log[k.next].Incoming
	k.next++
	return &m, nil
}

// Ack implements broker.Consumer: as at Pulsar, entries are acknowledged
// whole, with their last message.
func (k *consumer) Ack(id broker.MessageID) error {
	k.conn.b.mu.Lock()
	defer k.conn.b.mu.Unlock()
	if k.closed || k.conn.closed {
		return errClosed
	}
	whole := id.Batch < 0 || id.Batch+1 >= id.BatchSize
	i := k.sub.acked
	for ; i < len(k.partition.log); i++ {
		at := k.partition.log[i].ID
		if at.Ledger > id.Ledger || (at.Ledger == id.Ledger && (at.Entry > id.Entry || (at.Entry == id.Entry && !whole))) {
			break
		}
	}
	k.sub.acked = i
	return nil
}

// Active implements broker.Consumer.
func (k *consumer) Active() bool {
	k.conn.b.mu.Lock()
	defer k.conn.b.mu.Unlock()
	return len(k.sub.consumers) > 0 && k.sub.consumers[0] == k
}

// Close implements broker.Consumer.
func (k *consumer) Close() {
	k.conn.b.mu.Lock()
	defer k.conn.b.mu.Unlock()
	k.leave()
	k.conn.b.notify()
}

// leave takes the consumer out of its subscription. b.mu is held.
func (k *consumer) leave() {
	k.closed = true
	delete(k.conn.consumers, k)
	if i := slices.Index(k.sub.consumers, k); i >= 0 {
		k.sub.consumers = slices.Delete(k.sub.consumers, i, i+1)
	}
}
