package broker

import (
	"context"
	"encoding/binary"
	"math"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
)

// reader implements Reader.
type reader struct {
	owner     *Pulsar
	partition Partition
	client    pulsar.Reader
	after     MessageID // the last message returned, or where the reader began
	inclusive bool      // the message at after counts as next
	end       MessageID // the last message known to be in the partition

	mu     sync.Mutex // guards the rest
	asking bool       // a question is under way in the client
	closed bool
}

// Read implements Client.
func (p *Pulsar) Read(ctx context.Context, q Partition, from Start) (Reader, error) {
	if err := p.checkPartition(ctx, q); err != nil {
		return nil, err
	}
	return p.openReader(ctx, q, from, p.cfg.ReceiveQueue)
}

func (p *Pulsar) openReader(ctx context.Context, q Partition, from Start, queue int) (*reader, error) {
	at, after, inclusive := from.place()
	options := pulsar.ReaderOptions{
		Topic:                   q.String(),
		StartMessageID:          at,
		StartMessageIDInclusive: inclusive && !from.Latest,
		ReceiverQueueSize:       queue,
	}
	r := &reader{owner: p, partition: q, after: after, inclusive: inclusive, end: none()}
	_, err := within(ctx, p, func() (_ *reader, err error) {
		if r.client, err = p.client.CreateReader(options); err != nil {
			return nil, err
		}
		return r, p.track(r)
	}, (*reader).Close)
	if err != nil {
		return nil, clientFault(err, "%s: opening a reader", q)
	}
	if from.Latest {
		// What is last now is what the reader starts after.
		if r.after, err = r.lastMessage(ctx); err != nil {
			r.Close()
			return nil, err
		}
	}
	return r, nil
}

// place translates a Start for the client. A batch index beyond all makes the
// client skip the rest of the entry.
func (s Start) place() (at pulsar.MessageID, after MessageID, inclusive bool) {
	switch {
	case s.Latest:
		return pulsar.LatestMessageID(), none(), false
	case s.After != nil:
		after = *s.After
		if after.Batch < 0 {
			after.Batch = math.MaxInt32
		}
		return pulsar.NewMessageID(after.Ledger, after.Entry, after.Batch, 0), after, false
	case s.FromEntry != nil:
		return pulsar.NewMessageID(s.FromEntry.Ledger, s.FromEntry.Entry, -1, 0),
			MessageID{Ledger: s.FromEntry.Ledger, Entry: s.FromEntry.Entry, Batch: -1}, true
	}
	return pulsar.EarliestMessageID(), none(), false
}

// none sorts before every message.
func none() MessageID { return MessageID{Ledger: -1, Entry: -1, Batch: -1} }

// Next implements Reader.
func (r *reader) Next(ctx context.Context) (*Incoming, error) {
	m, err := r.client.Next(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, clientFault(err, "%s: reading", r.partition)
	}
	in := toIncoming(r.partition, m)
	r.after, r.inclusive = in.ID, false
	return in, nil
}

// HasNext implements Reader. The client's own answers no when it fails to ask.
func (r *reader) HasNext(ctx context.Context) (bool, error) {
	if r.behind() {
		return true, nil
	}
	end, err := r.lastMessage(ctx)
	if err != nil {
		return false, err
	}
	r.end = end
	return r.behind(), nil
}

func (r *reader) behind() bool {
	if r.end.Entry < 0 {
		return false
	}
	c := compareIDs(r.end, r.after)
	return c > 0 || (c == 0 && r.inclusive)
}

// lastMessage asks for the id of the partition's last message; Entry is -1
// when it holds none.
func (r *reader) lastMessage(ctx context.Context) (MessageID, error) {
	id, err := within(ctx, r.owner, r.ask, nil)
	if err != nil {
		return none(), clientFault(err, "%s: asking for the last message", r.partition)
	}
	return fromClientID(id), nil
}

// ask is the client's GetLastMessageID. That one never returns when the client's
// reader closes meanwhile, so a Close that comes in between is done afterwards.
func (r *reader) ask() (pulsar.MessageID, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, ErrLost.New("%s: the reader is closed", r.partition)
	}
	r.asking = true
	r.mu.Unlock()
	id, err := r.client.GetLastMessageID()
	r.mu.Lock()
	r.asking = false
	closed := r.closed
	r.mu.Unlock()
	if closed {
		r.client.Close()
	}
	return id, err
}

// Close implements Reader.
func (r *reader) Close() {
	r.owner.untrack(r)
	r.mu.Lock()
	now := !r.closed && !r.asking
	r.closed = true
	r.mu.Unlock()
	if now {
		r.client.Close()
	}
}

// toIncoming converts a received message. The client numbers every message,
// also outside batches, as 0 of 1.
func toIncoming(q Partition, m pulsar.Message) *Incoming {
	return &Incoming{
		Partition:     q,
		ID:            fromClientID(m.ID()),
		Key:           m.Key(),
		Payload:       m.Payload(),
		Properties:    m.Properties(),
		EventTime:     m.EventTime(),
		PublishTime:   m.PublishTime(),
		SchemaVersion: schemaVersion(m.SchemaVersion()),
		Redeliveries:  int(m.RedeliveryCount()),
		Producer:      m.ProducerName(),
	}
}

// schemaVersion reads the 8 bytes, big endian, that Pulsar's registry uses; -1
// for anything else.
func schemaVersion(b []byte) int64 {
	if len(b) != 8 {
		return -1
	}
	if v := int64(binary.BigEndian.Uint64(b)); v >= 0 {
		return v
	}
	return -1
}
