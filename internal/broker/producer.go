package broker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/fault"
)

// producer implements Producer over the client's.
//
// Invariants:
//
//  1. flight holds exactly the messages whose callback did not run, in the
//     order in which the client got them (sending guards that order).
//  2. A callback runs once, in that order, one at a time, and never under state.
//  3. Once cause is set nothing more is given to the client, and no
//     acknowledgement counts: what is in flight is reported by run.
//  4. The client never reconnects for us. Its reconnect would resend what is
//     pending; with old data still queued for the same connection the broker
//     may store later messages before the resent ones and drop those as
//     duplicates. The first sign of a reconnect stops this producer instead.
type producer struct {
	owner     *Pulsar
	partition Partition
	name      string
	client    pulsar.Producer
	limits    limits
	verify    func(ctx context.Context, probe entryID) error

	sending sync.Mutex // serialises Send; guards schemas, first
	schemas schemaSet
	first   bool // the next message is the probe
	onAck   func(pulsar.MessageID, *pulsar.ProducerMessage, error)

	delivering sync.Mutex // serialises callbacks; taken before state

	state  sync.Mutex // guards the rest
	flight flight
	single bool // what is in flight is the probe or a message that travels alone
	probe  bool // what is in flight is the probe
	last   MessageID
	room   chan struct{} // not nil: a Send waits for it to be closed
	cause  error

	drained bool                     // run has taken what was in flight
	late    []func(MessageID, error) // of messages that came after that

	lost    chan struct{} // closed by fail, after cause is set
	quit    chan struct{} // closed by Close
	ended   chan struct{} // closed when nothing more is given to the client
	gone    chan struct{} // closed when the client's producer is closed
	quitted sync.Once

	waiting atomic.Bool   // the client may hold messages that flusher is to flush
	due     chan struct{} // filled when waiting becomes true
	flush   chan struct{} // filled by Flush
	flushed chan struct{} // closed when flusher has ended
}

// closeWait bounds how long Close waits for the broker.
const closeWait = 5 * time.Second

func newProducer(p *Pulsar, q Partition, name string, l limits) *producer {
	r := &producer{
		owner: p, partition: q, name: name, limits: l, first: true,
		last: MessageID{Ledger: -1, Entry: -1, Batch: -1},
		lost: make(chan struct{}), quit: make(chan struct{}), ended: make(chan struct{}), gone: make(chan struct{}),
		due: make(chan struct{}, 1), flush: make(chan struct{}, 1), flushed: make(chan struct{}),
	}
	r.onAck = r.acknowledged
	return r
}

// start takes over the client's producer. Only for calls that within runs.
func (r *producer) start(client pulsar.Producer) error {
	r.client = client
	p := r.owner
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		client.Close()
		return errClosed()
	}
	defer p.mu.Unlock()
	p.producers[r] = struct{}{}
	p.pending.Add(1)
	go r.run()
	go r.flusher()
	return nil
}

// Send implements Producer.
func (r *producer) Send(ctx context.Context, m *Outgoing, done func(MessageID, error)) {
	alone, err := r.limits.check(m)
	if err != nil {
		r.fail(fault.Find(err).At("%s", r.partition))
	}
	r.sending.Lock()
	defer r.sending.Unlock()
	s := r.reserve(ctx, m, alone, done)
	if s == nil {
		return
	}
	s.message.Key = m.Key
	s.message.Payload = m.Payload
	if m.Payload == nil {
		s.message.Payload = []byte{} // nil would be a null value
	}
	s.message.Properties = m.Properties
	s.message.EventTime = m.EventTime
	if m.Schema != nil {
		s.message.Schema = r.schemas.get(m.Schema)
	}
	// The client panics when it closes itself at this very moment.
	defer func() {
		if x := recover(); x != nil {
			r.fail(ErrLost.New("%s: the client's producer closed: %v", r.partition, x))
		}
	}()
	if err := failpoint.Error("broker.send"); err != nil { // a failed add: never stored
		r.fail(ErrLost.Wrap(err, "%s: sending", r.partition))
		return
	}
	r.client.SendAsync(context.Background(), &s.message, r.onAck)
	if r.waiting.CompareAndSwap(false, true) {
		select {
		case r.due <- struct{}{}:
		default: // a token from before is as good
		}
	}
}

// reserve waits for room and queues a slot. When the producer has stopped, or
// ctx ends first, done gets an error and reserve returns nil.
func (r *producer) reserve(ctx context.Context, m *Outgoing, alone bool, done func(MessageID, error)) *slot {
	limit, limitBytes := r.owner.cfg.MaxPending, r.owner.cfg.MaxPendingBytes
	for {
		r.state.Lock()
		if r.cause != nil {
			r.refuse(done)
			r.state.Unlock()
			return nil
		}
		f := &r.flight
		if f.count == 0 || (!alone && !r.single && f.count < limit && f.bytes+int64(len(m.Payload)) <= limitBytes) {
			r.single, r.probe = alone || r.first, r.first
			r.first = false
			s := f.push(len(m.Payload))
			s.done = done
			r.state.Unlock()
			return s
		}
		if r.room == nil {
			r.room = make(chan struct{})
		}
		room := r.room
		r.state.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			// Whatever came after this one would leave a hole.
			r.fail(ErrStopped.Wrap(context.Cause(ctx), "%s: the wait for room ended", r.partition))
		}
	}
}

// refuse reports a message that came after the end, in its turn: behind what
// is still in flight, or by a goroutine of its own. state is held.
func (r *producer) refuse(done func(MessageID, error)) {
	if !r.drained {
		r.flight.push(0).done = done
		return
	}
	if r.late = append(r.late, done); len(r.late) == 1 {
		go r.deliverLate()
	}
}

func (r *producer) deliverLate() {
	r.delivering.Lock()
	defer r.delivering.Unlock()
	for {
		r.state.Lock()
		if len(r.late) == 0 {
			r.state.Unlock()
			return
		}
		all, err := r.late, r.stopped()
		r.late = nil
		r.state.Unlock()
		for _, done := range all {
			done(MessageID{}, err)
		}
	}
}

// acknowledged is the client's callback, from its connection's goroutine, or
// from within SendAsync when the client refuses a message at once.
func (r *producer) acknowledged(id pulsar.MessageID, m *pulsar.ProducerMessage, err error) {
	if err == nil {
		err = failpoint.Error("broker.ack") // a failed add, although it is stored
	}
	if err != nil {
		r.fail(clientFault(err, "%s: sending", r.partition))
		return
	}
	at := fromClientID(id)
	r.delivering.Lock()
	defer r.delivering.Unlock()
	r.state.Lock()
	if r.cause != nil {
		r.state.Unlock()
		return
	}
	if err := r.inOrder(at, m); err != nil {
		r.state.Unlock()
		r.fail(err)
		return
	}
	if r.probe {
		r.probe = false
		r.owner.pending.Add(1) // under state: run, which counts too, cannot have ended
		r.state.Unlock()
		// Verifying may ask the broker: not on the connection's goroutine.
		go func() {
			defer r.owner.pending.Done()
			r.probed(at)
		}()
		return
	}
	done := r.settle(at)
	r.state.Unlock()
	done(at, nil)
}

// inOrder checks that this is the acknowledgement that is due. Ledger -1 is
// the broker's word for "a duplicate, not stored"; we never resend, so nothing
// can be one.
func (r *producer) inOrder(at MessageID, m *pulsar.ProducerMessage) error {
	switch {
	case r.flight.head == nil || m != &r.flight.head.message:
		return ErrAckOrder.New("%s: an acknowledgement (id %s) does not belong to the oldest message in flight", r.partition, at)
	case at.Ledger < 0 || at.Entry < 0:
		return ErrAckOrder.New("%s: the broker took a message for a duplicate and did not store it", r.partition)
	case compareIDs(at, r.last) <= 0:
		return ErrAckOrder.New("%s: acknowledged at %s after %s", r.partition, at, r.last)
	}
	return nil
}

// settle takes the oldest message out of flight and returns its callback.
func (r *producer) settle(at MessageID) func(MessageID, error) {
	r.last = at
	done := r.flight.pop()
	if r.room != nil && (!r.single || r.flight.count == 0) {
		close(r.room)
		r.room = nil
	}
	return done
}

// probed verifies the first message's place and reports it.
func (r *producer) probed(at MessageID) {
	ctx, cancel := context.WithTimeout(context.Background(), r.owner.cfg.OperationTimeout)
	defer cancel()
	failpoint.Hit("broker.probe") // stored, its place not verified
	if err := r.verify(ctx, entryID{at.Ledger, at.Entry}); err != nil {
		r.fail(err)
		return
	}
	r.delivering.Lock()
	defer r.delivering.Unlock()
	r.state.Lock()
	if r.cause != nil {
		r.state.Unlock()
		return
	}
	done := r.settle(at)
	r.state.Unlock()
	done(at, nil)
}

// fail stops the producer; the first cause counts. It never blocks on the
// broker nor runs callbacks: run does.
func (r *producer) fail(cause error) {
	r.state.Lock()
	defer r.state.Unlock()
	if r.stop(cause) {
		close(r.lost)
	}
}

// stop sets the cause, once, and wakes a Send that waits. state is held.
func (r *producer) stop(cause error) bool {
	if r.cause != nil {
		return false
	}
	r.cause = cause
	if r.room != nil {
		close(r.room)
		r.room = nil
	}
	return true
}

// stopped is what callbacks after the first error get. state is held.
func (r *producer) stopped() error {
	return ErrStopped.Wrap(r.cause, "%s: not sent", r.partition)
}

// run waits for the end, reports what is in flight, and closes the client's
// producer.
func (r *producer) run() {
	defer r.owner.pending.Done()
	select {
	case <-r.lost:
	case <-r.quit:
		r.state.Lock()
		r.stop(ErrStopped.New("%s: the producer was closed", r.partition))
		r.state.Unlock()
	}
	// A Send that passed reserve is still to reach the client; after it, no
	// other does.
	r.sending.Lock()
	r.delivering.Lock()
	r.state.Lock()
	all, cause, stopped := r.flight.head, r.cause, r.stopped()
	r.flight, r.drained = flight{}, true
	r.state.Unlock()
	for s := all; s != nil; s = s.next {
		s.done(MessageID{}, cause) // the first error says why, the others that it ended
		cause = stopped
	}
	r.delivering.Unlock()
	r.sending.Unlock()

	// The client closes channels that its own Flush and SendAsync send on.
	close(r.ended)
	<-r.flushed
	r.client.Close()
	r.owner.mu.Lock()
	delete(r.owner.producers, r)
	r.owner.mu.Unlock()
	close(r.gone)
}

// Lost implements Producer.
func (r *producer) Lost() <-chan struct{} { return r.lost }

// Err implements Producer.
func (r *producer) Err() error {
	select {
	case <-r.lost:
		r.state.Lock()
		defer r.state.Unlock()
		return r.cause
	default:
		return nil
	}
}

// Close implements Producer. It waits until the broker knows, but not for
// long: a connection that hangs is closed in the background.
func (r *producer) Close() {
	r.quitted.Do(func() { close(r.quit) })
	wait(r.gone, closeWait)
}
