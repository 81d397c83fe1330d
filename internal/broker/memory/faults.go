package memory

import "github.com/runnel-cdc/runnel/internal/broker"

// Fate is what becomes of an entry that a producer added.
type Fate int

// The fates.
const (
	Store   Fate = iota // stored and acknowledged
	LoseAck             // stored, as is what is queued behind, but the connection breaks before the acknowledgement
	Fail                // not stored; the connection breaks, what was queued behind is dropped
	Vanish              // not stored and the producer stops, but what is queued behind is stored: a hole
)

// Add is an entry about to be stored.
type Add struct {
	Partition broker.Partition
	Producer  string
	Messages  []*broker.Outgoing
}

// OnAdd lets f decide about every entry; nil ends that. f must not call the
// broker.
func (b *Broker) OnAdd(f func(Add) Fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hook = f
}

// Hold keeps all adds to a partition pending until Release: acknowledgements
// are late, and Acquire does not settle.
func (b *Broker) Hold(q broker.Partition) error {
	return b.with(q, func(p *partition) { p.held = true })
}

// Release lets pending adds go on, also those of producers that have gone.
func (b *Broker) Release(q broker.Partition) error {
	return b.with(q, func(p *partition) {
		p.held = false
		b.drain(p)
	})
}

// LateAdd stores a batch under another producer's name, whoever owns the
// partition: an add of an earlier owner that settling did not see, or a
// foreign message.
func (b *Broker) LateAdd(q broker.Partition, producer string, batch ...*broker.Outgoing) error {
	return b.with(q, func(p *partition) { p.store(&add{name: producer, messages: batch}) })
}

// Fence takes the right to publish away from whoever has it.
func (b *Broker) Fence(q broker.Partition) error {
	return b.with(q, func(p *partition) {
		if p.owner != nil {
			p.owner.fail(broker.ErrNotOwner.New("%s: the producer was fenced", q))
		}
	})
}

// Unload loads a topic anew: producers are closed, subscriptions deliver again
// what is not acknowledged, ledgers begin.
func (b *Broker) Unload(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topics[name]
	if t == nil {
		return broker.ErrTopicMissing.New("%s does not exist", name)
	}
	for _, p := range t.partitions {
		if p.owner != nil {
			p.owner.fail(broker.ErrLost.New("%s: the broker closed the producer or the connection", p.id))
		}
		for _, s := range p.subs {
			for _, k := range s.consumers {
				k.active = false
			}
		}
		if p.entry > 0 {
			p.nextLedger()
		}
	}
	b.notify()
	return nil
}

// Terminate ends a topic: it accepts no more messages.
func (b *Broker) Terminate(name string) error {
	return b.topic(name, func(t *topic) {
		t.terminated = true
		for _, p := range t.partitions {
			if p.owner != nil {
				p.owner.fail(broker.ErrTopicTerminated.New("%s", p.id))
			}
		}
	})
}

// SetMaxMessageSize sets the topic's own policy; 0 removes it.
func (b *Broker) SetMaxMessageSize(name string, bytes int) error {
	return b.topic(name, func(t *topic) { t.maxSize = bytes })
}

// SetDeduplication switches a topic's deduplication.
func (b *Broker) SetDeduplication(name string, on bool) error {
	return b.topic(name, func(t *topic) { t.deduplication = on })
}

// Trim removes all but the last keep messages of a partition, as retention
// would.
func (b *Broker) Trim(q broker.Partition, keep int) error {
	return b.with(q, func(p *partition) { p.trimmed = max(p.trimmed, len(p.log)-keep) })
}

// Drop makes the broker forget the connection, as it does with one that has
// been silent too long: others may take its partitions. The client does not
// notice before Resume.
func (c *Conn) Drop() {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.paused = true
	for q := range c.producers {
		q.release()
	}
	for k := range c.consumers {
		k.leave()
	}
	c.b.notify()
}

// Resume lets a dropped client notice: its producers are lost.
func (c *Conn) Resume() {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	for q := range c.producers {
		q.fail(broker.ErrLost.New("%s: the connection was lost", q.partition.id))
	}
	c.paused = false
	c.b.notify()
}

func (b *Broker) with(q broker.Partition, f func(*partition)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, err := b.partition(q)
	if err != nil {
		return err
	}
	f(p)
	b.notify()
	return nil
}

func (b *Broker) topic(name string, f func(*topic)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topics[name]
	if t == nil {
		return broker.ErrTopicMissing.New("%s does not exist", name)
	}
	f(t)
	b.notify()
	return nil
}
