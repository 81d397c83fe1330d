package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"sync"

	"github.com/apache/pulsar-client-go/pulsar"
)

// reader implements Reader, over one readerLink after another.
//
// Invariant: what Next returns is what follows after in the partition. The
// client's own reconnect does not keep it: after a broker's crash its reader may
// go on hundreds of messages further. So the first sign of a reconnect gives the
// link up, with all that it still holds, and a new one begins at after.
type reader struct {
	owner     *Pulsar
	partition Partition
	options   pulsar.ReaderOptions // of each link, but for where it begins
	after     MessageID            // the last message returned, or where the reader began
	inclusive bool                 // the message at after counts as next
	end       MessageID            // the last message known to be in the partition

	mu     sync.Mutex // guards the rest
	link   *readerLink
	closed bool
}

// Read implements Client.
func (p *Pulsar) Read(ctx context.Context, q Partition, from Start) (Reader, error) {
	if err := p.checkPartition(ctx, q); err != nil {
		return nil, err
	}
	return p.openReader(ctx, q, from, p.cfg.ReceiveQueue)
}

// openReader opens a reader whose client may hold as many messages as queue says.
func (p *Pulsar) openReader(ctx context.Context, q Partition, from Start, queue int) (*reader, error) {
	return p.startReader(ctx, q, from, pulsar.ReaderOptions{Topic: q.String(), ReceiverQueueSize: queue, Properties: p.cfg.Properties})
}

func (p *Pulsar) startReader(ctx context.Context, q Partition, from Start, options pulsar.ReaderOptions) (*reader, error) {
	at, after, inclusive := from.place()
	r := &reader{owner: p, partition: q, options: options, after: after, inclusive: inclusive, end: none()}
	if err := r.connect(ctx, at, inclusive); err != nil {
		return nil, err
	}
	if from.Latest {
		// What is last now is what the reader starts after.
		last, err := r.lastMessage(ctx, r.current())
		if err != nil {
			r.Close()
			return nil, err
		}
		r.after = last
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
	for {
		l := r.current()
		m, err := l.next(ctx)
		switch {
		case err == nil:
			in := toIncoming(r.partition, m)
			r.after, r.inclusive = in.ID, false
			return in, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case l.lost() == nil:
			return nil, clientFault(err, "%s: reading", r.partition)
		}
		if err := r.reconnect(ctx, l); err != nil {
			return nil, err
		}
	}
}

// HasNext implements Reader. The client's own answers no when it fails to ask.
func (r *reader) HasNext(ctx context.Context) (bool, error) {
	for !r.behind() {
		l := r.current()
		end, err := r.lastMessage(ctx, l)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case l.lost() != nil:
			if err := r.reconnect(ctx, l); err != nil {
				return false, err
			}
			continue
		case err != nil:
			return false, err
		}
		r.end = end
		return r.behind(), nil
	}
	return true, nil
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
func (r *reader) lastMessage(ctx context.Context, l *readerLink) (MessageID, error) {
	id, err := within(ctx, r.owner, l.ask, nil)
	if err != nil {
		return none(), clientFault(err, "%s: asking for the last message", r.partition)
	}
	return fromClientID(id), nil
}

func (r *reader) current() *readerLink {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.link
}

func (r *reader) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// reconnect replaces a link that was lost, for as long as ctx allows. What is
// other than an outage it returns.
func (r *reader) reconnect(ctx context.Context, old *readerLink) error {
	r.owner.closeLater(old)
	at, inclusive := pulsar.EarliestMessageID(), false
	if r.after.Ledger >= 0 {
		at, inclusive = pulsar.NewMessageID(r.after.Ledger, r.after.Entry, r.after.Batch, 0), r.inclusive
	}
	for pause := firstWait; ; pause = min(2*pause, longWait) {
		if r.isClosed() {
			return errClosed()
		}
		err := r.connect(ctx, at, inclusive)
		if err == nil || !errors.Is(err, ErrUnreachable) && !errors.Is(err, ErrLost) || !sleep(ctx, pause) {
			return err
		}
	}
}

// connect makes a link that begins at a message.
func (r *reader) connect(ctx context.Context, at pulsar.MessageID, inclusive bool) error {
	options := r.options
	l := &readerLink{topic: options.Topic}
	options.StartMessageID, options.StartMessageIDInclusive = at, inclusive
	options.BackoffPolicyFunc = l.reconnects
	_, err := within(ctx, r.owner, func() (_ *readerLink, err error) {
		if l.client, err = r.owner.client.CreateReader(options); err != nil {
			return nil, err
		}
		return l, r.attach(l)
	}, (*readerLink).giveUp)
	if err != nil {
		return clientFault(err, "%s: opening a reader", options.Topic)
	}
	return nil
}

// attach makes a link the reader's. Only for calls that within runs.
func (r *reader) attach(l *readerLink) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		l.close()
		return errClosed()
	}
	r.link = l
	r.mu.Unlock()
	return r.owner.track(r)
}

// Close implements Reader.
func (r *reader) Close() {
	r.owner.untrack(r)
	r.mu.Lock()
	l := r.link
	r.closed = true
	r.mu.Unlock()
	if l == nil {
		return
	}
	if closed := r.owner.closeLater(l); closed != nil {
		wait(closed, closeWait)
	} else {
		l.close()
	}
	l.lose(errClosed()) // wakes a Next
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
