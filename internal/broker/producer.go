package broker

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/fault"
)

// producer implements Producer over the wire's. It gathers messages into
// batches: see batching.go for when one leaves, and why not sooner.
//
// Invariants:
//
//  1. flight holds exactly the messages whose callback did not run, in the
//     order of Send. Its first entries were given to the link, in that order.
//  2. A callback runs once, in that order, one at a time, and never under state.
//  3. Once cause is set nothing more is given to the link, and no receipt
//     counts: what is in flight is reported by end.
//  4. Nothing is sent again, and nothing reconnects. A resend, with old data
//     still queued for the same connection, may be dropped as a duplicate where
//     later messages are stored already. The first sign that the link is lost
//     stops this producer instead.
type producer struct {
	owner     *Pulsar
	partition Partition
	name      string
	verify    func(ctx context.Context, probe entryID) error

	delivering sync.Mutex // serialises callbacks; taken before state

	limits limits // its user's: Send, Resize

	state     sync.Mutex // guards the rest
	link      link       // nil before start
	flight    flight
	schemas   schemaVersions
	message   wire.Message // what is given to the link, again and again
	first     bool         // the next message is the probe
	probing   bool         // what is in flight is the probe
	verifying bool         // it is stored, and its place is being looked at
	last      MessageID
	room      chan struct{} // not nil: a Send waits for it to be closed
	cause     error
	drained   bool                     // end has taken what was in flight
	late      []func(MessageID, error) // of messages that came after that

	open *entry // the last of flight, if it may still grow
	more bool   // and will, before whoever sends does anything else

	lost chan struct{} // closed by fail, after cause is set
	gone chan struct{} // closed when the broker holds the producer no more
}

// link is a producer of the wire's, or one of a test. NewBatch, Add and Send are
// called with state held; none blocks.
type link interface {
	SchemaVersion() []byte
	AskSchema(ctx context.Context, s *wire.Schema) (version []byte, err error)
	NewBatch(version []byte) *wire.Batch
	Add(b *wire.Batch, m *wire.Message) (sequence uint64)
	Send(b *wire.Batch)
	Close(ctx context.Context) error
}

// closeWait bounds how long Close waits for the broker.
const closeWait = 5 * time.Second

func newProducer(p *Pulsar, q Partition, name string, l limits) *producer {
	r := &producer{
		owner: p, partition: q, name: name, limits: l, first: true,
		last: MessageID{Ledger: -1, Entry: -1, Batch: -1},
		lost: make(chan struct{}), gone: make(chan struct{}),
	}
	return r
}

// start takes over the link, which may have ended already. s is the schema that
// it was made with.
func (r *producer) start(l link, s *Schema) error {
	p := r.owner
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		_ = l.Close(context.Background()) // its connection is being closed
		return errClosed()
	}
	defer p.mu.Unlock()
	p.pending.Add(1)
	p.producers[r] = struct{}{}
	r.state.Lock()
	defer r.state.Unlock()
	r.link = l
	r.schemas.put(s, l.SchemaVersion())
	if r.cause != nil {
		go r.end()
	}
	return nil
}

// Resize implements Producer.
func (r *producer) Resize(maxMessageSize int) {
	r.limits = newLimits(maxMessageSize, len(r.name))
}

// Send implements Producer.
func (r *producer) Send(ctx context.Context, m *Outgoing, done func(MessageID, error)) {
	size, err := r.limits.check(m)
	if err != nil {
		r.fail(fault.Find(err).At("%s", r.partition))
	}
	if err := failpoint.Error("broker.send"); err != nil { // a failed add: never stored
		r.fail(ErrLost.Wrap(err, "%s: sending", r.partition))
	}
	r.state.Lock()
	defer r.state.Unlock()
	for {
		if r.cause != nil {
			r.refuse(done)
			return
		}
		version, known := r.schemas.get(m.Schema)
		switch {
		case !known:
			r.askSchema(ctx, m.Schema)
		case r.hasRoom(m):
			r.join(m, size, version, done)
			return
		default:
			r.await(ctx)
		}
	}
}

// hasRoom reports whether m may be taken now. state is held.
func (r *producer) hasRoom(m *Outgoing) bool {
	f, cfg := &r.flight, &r.owner.cfg
	switch {
	case f.count == 0:
		return true
	case r.probing, f.count >= cfg.MaxPending, f.bytes+int64(len(m.Payload)) > cfg.MaxPendingBytes:
		return false
	}
	return true
}

// fits reports whether a message can join the open batch, or there is none.
func (r *producer) fits(size int, version []byte) bool {
	e := r.open
	return e == nil || len(e.done) < maxBatchCount && e.batch.Size()+size <= r.limits.batch && bytes.Equal(e.version, version)
}

// join puts a message into the open batch, or a new one. state is held.
func (r *producer) join(m *Outgoing, size int, version []byte, done func(MessageID, error)) {
	if !r.fits(size, version) {
		r.open = nil // it waits as it is
	}
	if r.first {
		r.first, r.probing = false, true
	}
	opened := r.open == nil
	if opened {
		r.open = r.flight.open(version)
		r.open.batch = r.link.NewBatch(version)
	}
	r.message = m.onWire()
	r.message.Size = size
	sequence := r.link.Add(r.open.batch, &r.message)
	if opened {
		r.open.first = sequence
	}
	r.message = wire.Message{} // m is its owner's again
	r.flight.push(done, len(m.Payload))
	r.more = m.More
	r.dispatch()
}

// await waits for room. When ctx ends first the producer stops: whatever came
// after this message would leave a hole. state is held, but not while it waits.
func (r *producer) await(ctx context.Context) {
	if r.room == nil {
		r.room = make(chan struct{})
	}
	room := r.room
	r.goOn()
	r.state.Unlock()
	select {
	case <-room:
		r.state.Lock()
	case <-ctx.Done():
		r.state.Lock()
		r.stop(ErrStopped.Wrap(context.Cause(ctx), "%s: the wait for room ended", r.partition))
	}
}

// askSchema learns a schema's version from the broker. state is held, but not
// while it asks.
func (r *producer) askSchema(ctx context.Context, s *Schema) {
	r.goOn()
	r.state.Unlock()
	version, err := r.link.AskSchema(ctx, s.onWire())
	r.state.Lock()
	switch {
	case err == nil:
		r.schemas.put(s, version)
	case ctx.Err() != nil:
		r.stop(ErrStopped.Wrap(context.Cause(ctx), "%s: the wait for the schema's version ended", r.partition))
	default:
		r.stop(clientFault(err, "%s: sending", r.partition))
	}
}

// goOn has leave what waits for more, as that is a while off. state is held.
func (r *producer) goOn() {
	r.more = false
	r.dispatch()
}

// wake wakes those who wait for room. state is held.
func (r *producer) wake() {
	if r.room != nil {
		close(r.room)
		r.room = nil
	}
}

// refuse reports a message that came after the end, in its turn: behind what
// is still in flight, or by a goroutine of its own. state is held.
func (r *producer) refuse(done func(MessageID, error)) {
	if !r.drained {
		if r.flight.tail == nil {
			r.flight.open(nil)
		}
		r.flight.push(done, 0)
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

// Ended is of wire.Events.
func (r *producer) Ended(cause error) { r.fail(endFault(cause, r.partition)) }

// fail stops the producer. It never blocks on the broker nor runs callbacks.
func (r *producer) fail(cause error) {
	r.state.Lock()
	defer r.state.Unlock()
	r.stop(cause)
}

// stop sets the cause, once, and has end report what is in flight. state is held.
func (r *producer) stop(cause error) {
	if r.cause == nil {
		close(r.lost)
		r.halt(cause)
	}
}

// halt is stop for one who wants it so: Lost is for those who do not. state is held.
func (r *producer) halt(cause error) {
	r.cause = cause
	r.wake()
	if r.link != nil {
		go r.end()
	}
}

// stopped is what callbacks after the first error get. state is held.
func (r *producer) stopped() error {
	return ErrStopped.Wrap(r.cause, "%s: not sent", r.partition)
}

// end reports what is in flight and closes the link.
func (r *producer) end() {
	defer r.owner.pending.Done()
	r.delivering.Lock()
	r.state.Lock()
	all, cause, stopped := r.flight.head, r.cause, r.stopped()
	r.flight, r.open, r.drained = flight{}, nil, true
	r.state.Unlock()
	for e := all; e != nil; e = e.next {
		for _, done := range e.done {
			done(MessageID{}, cause) // the first error says why, the others that it ended
			cause = stopped
		}
	}
	r.delivering.Unlock()
	// Whether the broker has heard of it is seen when somebody asks for the
	// partition again.
	_ = r.link.Close(context.Background())
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
	r.state.Lock()
	if r.cause == nil {
		r.halt(ErrStopped.New("%s: the producer was closed", r.partition))
	}
	r.state.Unlock()
	wait(r.gone, closeWait)
}
