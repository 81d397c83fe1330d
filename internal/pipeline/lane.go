package pipeline

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/router"
)

// lane is the broker's side of one router lane: a producer, and the count of
// acknowledgements that the loop has not taken yet.
type lane struct {
	id        router.Lane
	partition broker.Partition
	topic     int
	producer  broker.Producer
	emptied   bool      // it held nothing of what was saved when it was acquired
	toSend    int       // of those that are being handed over; the loop's
	unacked   int       // sent, not acknowledged; the loop's
	since     time.Time // of the last acknowledgement, or of the first send after none was due; the loop's
	acks      atomic.Int64
	done      func(broker.MessageID, error) // made once: no closure per message
}

// mailbox is where the broker's callbacks post for the loop. Posting never
// blocks; what is queued is bounded by the number of lanes.
type mailbox struct {
	mu    sync.Mutex
	dirty []*lane // lanes with acknowledgements to take
	err   error   // the first error of any callback

	wake   chan struct{} // capacity 1
	failed chan struct{} // closed with the first error
}

func newMailbox() *mailbox {
	return &mailbox{wake: make(chan struct{}, 1), failed: make(chan struct{})}
}

// acked counts an acknowledgement of a lane.
func (m *mailbox) acked(l *lane) {
	if l.acks.Add(1) > 1 {
		return // posted already, not taken yet
	}
	m.mu.Lock()
	m.dirty = append(m.dirty, l)
	m.mu.Unlock()
	m.ring()
}

// fail keeps the first error.
func (m *mailbox) fail(err error) {
	m.mu.Lock()
	if m.err == nil {
		m.err = err
		close(m.failed)
	}
	m.mu.Unlock()
	m.ring()
}

// failure returns the first error.
func (m *mailbox) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *mailbox) ring() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// take returns the lanes that have acknowledgements, and the first error.
func (m *mailbox) take(into []*lane) ([]*lane, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	into = append(into[:0], m.dirty...)
	m.dirty = m.dirty[:0]
	return into, m.err
}

// newLane returns a lane whose callback posts to m.
func newLane(m *mailbox, id router.Lane, topic int, p broker.Partition) *lane {
	l := &lane{id: id, topic: topic, partition: p}
	l.done = func(_ broker.MessageID, err error) {
		if err != nil {
			m.fail(err)
			return
		}
		m.acked(l)
	}
	return l
}

// makeLanes makes the lanes of the state, none of which is acquired.
func (l *loop) makeLanes() {
	for id := range router.Lane(l.state.Lanes()) {
		t, partition := l.state.Partition(id)
		l.lanes = append(l.lanes, newLane(l.mail, id, t, broker.Partition{Topic: l.topics[t].full, Index: partition}))
	}
	l.acquired, l.used = make(chan acquisition, len(l.lanes)), make([]atomic.Bool, len(l.topics))
}

// outgoing is one message at a time as the broker gets it.
type outgoing struct {
	message    broker.Outgoing
	properties router.PropertyBuffer
}

// of returns a message as it is sent, and as its size is checked before: the two must not
// differ, or an event that is let pass would end every run. It is valid until the next call.
func (o *outgoing) of(m *router.Send, schema *broker.Schema) *broker.Outgoing {
	o.message = broker.Outgoing{
		Key: m.Key, Payload: m.Payload, Properties: o.properties.Of(m), EventTime: time.UnixMicro(m.OccurredAt), Schema: schema,
	}
	return &o.message
}

// send hands a message to the partition's producer. It may block while too much
// is in flight, until ctx ends.
func (l *lane) send(ctx context.Context, m *broker.Outgoing) {
	failpoint.Hit("pipeline.send")
	l.producer.Send(ctx, m, l.done)
	failpoint.Hit("pipeline.sent") // and not acknowledged
}
