package wire

import (
	"context"
	"fmt"
	"sync/atomic"
)

// Schema is an AVRO schema, as it is registered.
type Schema struct {
	Name string // of the record
	JSON string // the definition, byte for byte
}

// ProducerRequest asks for a producer.
type ProducerRequest struct {
	Topic  string  // of one partition: persistent://tenant/namespace/local-partition-0
	Name   string  // "": the broker's choice
	Schema *Schema // must be registered where the namespace forbids producers to do that; nil: none
	Shared bool    // beside other producers; by default, exclusive access or none
}

// Events is told what the broker says to a producer. Its methods are called from
// the connection's goroutines, one of which serves many producers: they must not
// block, nor call Producer.Close or Client.Close.
type Events interface {
	// Stored is called for one SEND_RECEIPT after the other.
	Stored(Receipt)
	// Ended: nothing more will be stored, as far as this side can tell. Called
	// once at most; maybe before Client.Producer returns, and Stored may still
	// be called at the same time.
	Ended(cause error)
}

// Producer is a producer as the broker has registered it. Send and NewBatch are
// for one goroutine at a time.
//
// Sequence ids number the messages, on from the last one that the broker's
// deduplication knows for the producer's name. Nothing is sent twice, so that
// none is a duplicate.
type Producer struct {
	conn    *conn
	id      uint64
	topic   string
	name    string
	events  Events
	next    uint64 // sequence id
	version []byte // of the request's schema

	over   atomic.Bool // closed, or Ended was called
	unheld atomic.Bool // the broker does not hold it any more
}

// Producer looks the topic's broker up and registers a producer there. Errors:
// *ServerError, *ConnectError, ErrTimeout, ErrDisconnected, ErrClosed,
// ErrProtocol, and ctx's.
func (c *Client) Producer(ctx context.Context, r ProducerRequest, events Events) (*Producer, error) {
	conn, err := c.lookup(ctx, r.Topic)
	if err != nil {
		return nil, err
	}
	p := &Producer{conn: conn, id: c.nextID.Add(1), topic: r.Topic, name: r.Name, events: events}
	if err := conn.register(p); err != nil {
		return nil, err
	}
	a, err := conn.request(ctx, func(request uint64) []byte { return appendProducer(nil, request, p.id, &r) })
	switch {
	case err != nil && a.err == nil:
		// It may come to be all the same: an owner that nobody knows.
		p.abandon()
		return nil, err
	case err != nil:
		conn.drop(p)
		return nil, err
	case a.kind != cmdProducerSuccess, a.notReady, a.producer == "", r.Name != "" && a.producer != r.Name,
		r.Schema != nil && a.version == nil: // without one, readers would not know what the messages are

		p.abandon()
		return nil, fmt.Errorf("%w: an unexpected answer to PRODUCER", ErrProtocol)
	}
	p.name, p.next, p.version = a.producer, uint64(a.lastSequence+1), a.version
	return p, nil
}

// register makes a producer's events arrive, from before it is asked for: the
// broker may close it again at once.
func (c *conn) register(p *Producer) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return fmt.Errorf("%w: %w", ErrDisconnected, c.cause)
	}
	c.producers[p.id] = p
	return nil
}

func (c *conn) drop(p *Producer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.producers, p.id)
}

// abandon closes a producer without waiting.
func (p *Producer) abandon() {
	p.over.Store(true)
	p.conn.drop(p)
	p.conn.put(item{frame: appendCloseProducer(nil, 0, p.id)}) // 0 is no request's: nobody waits
}

// ended is called once the broker has said, or shown, that this is the end.
// unheld: the producer needs no closing.
func (p *Producer) ended(cause error, unheld bool) {
	if unheld {
		p.unheld.Store(true)
	}
	p.conn.drop(p)
	if p.over.CompareAndSwap(false, true) {
		p.events.Ended(cause)
	}
}

// SchemaVersion returns the version of the request's schema, as the broker told;
// nil when it has none.
func (p *Producer) SchemaVersion() []byte { return p.version }

// AskSchema asks for the version of another schema, which the broker registers
// when the namespace allows that. Errors: as of Client.Producer.
func (p *Producer) AskSchema(ctx context.Context, s *Schema) (version []byte, err error) {
	a, err := p.conn.request(ctx, func(request uint64) []byte {
		return appendGetOrCreateSchema(nil, request, p.topic, s)
	})
	if err == nil && (a.kind != cmdSchemaAnswer || a.version == nil) {
		err = fmt.Errorf("%w: an unexpected answer to GET_OR_CREATE_SCHEMA", ErrProtocol)
	}
	return a.version, err
}

// NewBatch returns a batch of messages with a schema's version, as SchemaVersion
// or AskSchema returned it, or nil.
func (p *Producer) NewBatch(version []byte) *Batch { return NewBatch(p.name, version) }

// Add encodes a message into a batch and returns its sequence id. Batches are
// sent in the order in which they were filled.
func (p *Producer) Add(b *Batch, m *Message) (sequence uint64) {
	sequence = p.next
	p.next++
	b.Add(sequence, m)
	return sequence
}

// Send queues a batch, which is not to be touched again. It never blocks: who sends bounds
// what is on its way. Of a producer that has ended nothing is sent.
func (p *Producer) Send(b *Batch) {
	p.conn.put(item{batch: b, of: p})
}

// Close gives the producer up and waits until the broker knows, or ctx ends.
// What was not written by then is never sent.
func (p *Producer) Close(ctx context.Context) error {
	p.over.Store(true)
	p.conn.drop(p)
	if p.unheld.Load() {
		return nil
	}
	_, err := p.conn.request(ctx, func(request uint64) []byte { return appendCloseProducer(nil, request, p.id) })
	return err
}
