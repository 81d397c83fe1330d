package memory

import (
	"bytes"
	"context"
	"strings"
	"sync"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// producer implements broker.Producer. One goroutine, run, turns what was sent
// into adds and runs all callbacks in order.
type producer struct {
	conn      *Conn
	partition *partition
	name      string

	sending    sync.Mutex // serialises Send
	delivering sync.Mutex // serialises callbacks after the end; taken before the broker's mu

	// Guarded by the broker's mu.
	after   int // length of the log when the tail was read; the probe must land there
	probing bool
	first   bool
	queue   []sent   // not yet added
	adding  []sent   // added, callback still due
	results []result // for the oldest of adding
	cause   error
	drained bool // run has ended: what comes later needs a goroutine of its own

	wake chan struct{}
	lost chan struct{} // closed with cause, but not by Close
	gone chan struct{}
}

type sent struct {
	message *broker.Outgoing
	done    func(broker.MessageID, error)
}

type result struct {
	id  broker.MessageID
	err error
}

const (
	maxPending = 4096
	maxBatch   = 100
)

// newProducer takes the right to publish. b.mu is held.
func newProducer(c *Conn, p *partition, name string) *producer {
	q := &producer{conn: c, partition: p, name: name, first: true,
		wake: make(chan struct{}, 1), lost: make(chan struct{}), gone: make(chan struct{})}
	p.owner = q
	if c.producers == nil {
		c.producers = make(map[*producer]struct{})
	}
	c.producers[q] = struct{}{}
	go q.run()
	return q
}

// Send implements broker.Producer.
func (q *producer) Send(ctx context.Context, m *broker.Outgoing, done func(broker.MessageID, error)) {
	q.sending.Lock()
	defer q.sending.Unlock()
	b := q.conn.b
	err := b.await(ctx, func() bool {
		return q.cause != nil || (!q.probing && len(q.queue)+len(q.adding) < maxPending)
	})
	if err != nil {
		b.mu.Lock()
		q.fail(broker.ErrStopped.Wrap(err, "%s: the wait for room ended", q.partition.id))
	}
	defer b.mu.Unlock()
	if q.cause == nil {
		q.check(m)
	}
	if q.cause != nil {
		q.refuse(m, done)
		return
	}
	q.probing, q.first = q.first, false
	kept := *m // the sender may use its own again
	kept.Key, kept.Payload, kept.Properties = strings.Clone(m.Key), bytes.Clone(m.Payload), m.Properties.Clone()
	q.queue = append(q.queue, sent{&kept, done})
	q.poke()
}

// refuse reports a message that came after the end, in its turn.
func (q *producer) refuse(m *broker.Outgoing, done func(broker.MessageID, error)) {
	q.queue = append(q.queue, sent{m, done})
	if q.drained && len(q.queue) == 1 {
		go q.report()
	}
}

// report tells everything that waits for a callback that it was not sent; the
// first of all learns why.
func (q *producer) report() {
	q.delivering.Lock()
	defer q.delivering.Unlock()
	for {
		q.conn.b.mu.Lock()
		all, err, stopped := append(q.adding, q.queue...), q.cause, q.stopped()
		if q.drained {
			err = stopped
		}
		q.adding, q.queue, q.drained = nil, nil, true
		q.conn.b.mu.Unlock()
		if len(all) == 0 {
			return
		}
		for _, s := range all {
			s.done(broker.MessageID{}, err)
			err = stopped
		}
	}
}

// check stops the producer when the broker would refuse m.
func (q *producer) check(m *broker.Outgoing) {
	t := q.partition.topic
	if err := broker.CheckSize(m, q.name, t.limit(q.conn.b)); err != nil {
		q.fail(err)
	} else if m.Schema != nil && t.version(m.Schema) < 0 {
		q.fail(broker.ErrSchemaMissing.New("%s: schema %s is not registered", q.partition.id, m.Schema.Name))
	}
}

func (q *producer) stopped() error {
	return broker.ErrStopped.Wrap(q.cause, "%s: not sent", q.partition.id)
}

func (q *producer) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// fail stops the producer and gives up its right; b.mu is held.
func (q *producer) fail(cause error) {
	if q.cause != nil {
		return
	}
	q.end(cause)
	close(q.lost)
}

func (q *producer) end(cause error) {
	q.cause = cause
	q.release()
	delete(q.conn.producers, q)
	q.poke()
	q.conn.b.notify()
}

// release lets another producer have the partition.
func (q *producer) release() {
	if q.partition.owner == q {
		q.partition.owner = nil
	}
}

// run is the producer's goroutine.
func (q *producer) run() {
	defer close(q.gone)
	b := q.conn.b
	for {
		b.mu.Lock()
		switch {
		case len(q.results) > 0:
			r, s := q.results[0], q.adding[0]
			q.results, q.adding = q.results[1:], q.adding[1:]
			b.notify()
			b.mu.Unlock()
			s.done(r.id, r.err)
		case q.cause != nil:
			b.mu.Unlock()
			q.report()
			return
		case len(q.queue) > 0 && !q.conn.paused:
			q.add()
			b.mu.Unlock()
		default:
			b.mu.Unlock()
			<-q.wake
		}
	}
}

// add hands the next batch to the partition; one schema per batch.
func (q *producer) add() {
	n := 1
	for n < len(q.queue) && n < maxBatch && sameSchema(q.queue[n].message, q.queue[0].message) {
		n++
	}
	a := &add{from: q, name: q.name}
	for _, s := range q.queue[:n] {
		a.messages = append(a.messages, s.message)
	}
	q.adding = append(q.adding, q.queue[:n]...)
	q.queue = q.queue[n:]
	q.partition.pending = append(q.partition.pending, a)
	q.conn.b.drain(q.partition)
}

func sameSchema(a, b *broker.Outgoing) bool {
	return a.Schema == b.Schema || (a.Schema != nil && b.Schema != nil && *a.Schema == *b.Schema)
}

// drain stores what is pending, as far as nothing holds it. b.mu is held.
func (b *Broker) drain(p *partition) {
	for !p.held && len(p.pending) > 0 {
		a := p.pending[0]
		p.pending = p.pending[1:]
		b.settle(p, a)
	}
	b.notify()
}

// settle decides one add's fate.
func (b *Broker) settle(p *partition, a *add) {
	fate := Store
	if b.hook != nil {
		fate = b.hook(Add{p.id, a.name, a.messages})
	}
	q := a.from
	place := len(p.log)
	switch {
	case p.topic.terminated:
		if q != nil {
			q.fail(broker.ErrTopicTerminated.New("%s", p.id))
		}
	case fate == Fail:
		// What this producer had queued behind fails with it.
		p.pending = deleteFrom(p.pending, q)
		if q != nil {
			q.fail(broker.ErrLost.New("%s: the add failed and the connection was closed", p.id))
		}
	case fate == Vanish:
		if q != nil {
			q.fail(broker.ErrTooLarge.New("the broker refused a message of %s", p.id))
		}
	case fate == LoseAck:
		p.store(a)
		if q != nil {
			q.fail(broker.ErrLost.New("%s: the connection was lost", p.id))
		}
	default:
		ids := p.store(a)
		if q == nil || q.cause != nil || q.conn.paused {
			return
		}
		if q.probing {
			q.probing = false
			if place != q.after {
				q.fail(broker.ErrNotSettled.New("%s: the first message is not where the tail ended", p.id))
				return
			}
		}
		for _, id := range ids {
			q.results = append(q.results, result{id: id})
		}
		q.poke()
	}
}

func deleteFrom(all []*add, q *producer) []*add {
	var kept []*add
	for _, a := range all {
		if a.from != q {
			kept = append(kept, a)
		}
	}
	return kept
}

// Resize implements broker.Producer: what the broker accepts is known here.
func (q *producer) Resize(int) {}

// Lost implements broker.Producer.
func (q *producer) Lost() <-chan struct{} { return q.lost }

// Err implements broker.Producer.
func (q *producer) Err() error {
	select {
	case <-q.lost:
		q.conn.b.mu.Lock()
		defer q.conn.b.mu.Unlock()
		return q.cause
	default:
		return nil
	}
}

// Close implements broker.Producer. Adds that are pending at the broker stay
// pending: they may yet be stored.
func (q *producer) Close() {
	q.conn.b.mu.Lock()
	if q.cause == nil {
		q.end(broker.ErrStopped.New("%s: the producer was closed", q.partition.id))
	}
	q.conn.b.mu.Unlock()
	<-q.gone
}
