package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// Partition names one partition of a partitioned topic.
type Partition struct {
	Topic string // full name: persistent://tenant/namespace/local
	Index int    // 0-based
}

// String returns the partition's own topic name, `<topic>-partition-<index>`.
func (p Partition) String() string { return fmt.Sprintf("%s-partition-%d", p.Topic, p.Index) }

// MessageID is where a message lies in a partition's ledgers. Batch is -1
// outside a batch. Ids are no order across resends: compare positions.
type MessageID struct {
	Ledger, Entry int64
	Batch         int32
	BatchSize     int32
}

// Schema is a schema as the registry holds it. Messages carry Version.
type Schema struct {
	Name    string // record name
	JSON    string // AVRO definition, byte for byte as registered
	Version int64
}

// Outgoing is a message to publish. Send keeps nothing of it but Schema: the rest,
// strings included, may be written again as soon as it has returned.
type Outgoing struct {
	Key        string
	Payload    []byte
	Properties properties.List
	EventTime  time.Time
	Schema     *Schema
	// More says that the same producer's next Send follows at once: the message may wait
	// for it, to leave with it.
	More bool
}

// AcquireRequest asks for the one right to publish to a partition.
type AcquireRequest struct {
	Partition Partition
	Producer  string  // fixed per (pipeline, partition)
	Schema    *Schema // of the first message
	// Replayed is the lowest position that this run will replay: the tail is
	// read back down to it.
	Replayed position.Position
	// History is what the source database holds: messages that it does not hold are in
	// the partition for good, and are not digested. The empty History holds all.
	History position.History
	// Foreign are messages that Runnel did not write, and that are passed over.
	Foreign Foreign
	// Resumed is the ordinal that the partition went on behind after it had lost messages;
	// 0: it never did.
	Resumed uint64
}

// ReadBack returns what checks the messages that the partition holds.
func (r AcquireRequest) ReadBack() ReadBack {
	return ReadBack{Replayed: r.Replayed, History: r.History, Producer: r.Producer, Foreign: r.Foreign, Resumed: r.Resumed}
}

// Tail is what a partition holds at the moment its producer became exclusive
// and all adds of earlier owners had settled.
type Tail struct {
	Stamp position.Stamp // of the last message; zero when the partition is empty or trimmed
	Last  MessageID      // of the last message, when Stamp is not zero
	// ReadBack is the digest of all positions in the partition at or above
	// AcquireRequest.Replayed that AcquireRequest.History holds, in order. Ordinals were
	// dense over all of them.
	ReadBack position.Digest
	// First is of the first message that was read: the oldest one that the partition has,
	// unless it is below AcquireRequest.Replayed.
	First position.Stamp
	// Lost is the position of the first message behind AcquireRequest.Resumed, if that was
	// read: what is below it is lost, and ReadBack is of what follows.
	Lost position.Position
	// MaxMessageSize is the largest size in bytes (payload and metadata) that
	// broker and topic policies accept.
	MaxMessageSize int
}

// Producer is the exclusive right to publish to one partition.
//
// Messages reach the partition in the order of Send calls, each at most once,
// as long as no callback reports an error. After the first error nothing more
// is sent: every later callback reports ErrStopped. There is no retry; the
// caller drops the producer and starts over.
type Producer interface {
	// Send publishes m asynchronously and calls done exactly once, from
	// another goroutine; done must not block, nor call the producer.
	// Callbacks run one at a time, in the order of Send. Send may
	// block while too much is in flight, until ctx ends; a message that
	// was not sent because of that stops the producer.
	//
	// The first Send is the probe: the caller sends nothing else until it is
	// acknowledged. The implementation checks that its id directly follows
	// the tail and reports ErrNotSettled otherwise.
	Send(ctx context.Context, m *Outgoing, done func(MessageID, error))
	// Resize says that broker and topic accept another size by now, as Tail.MaxMessageSize
	// did. Not beside Send.
	Resize(maxMessageSize int)
	// Lost is closed when the producer stopped, for whatever reason but Close:
	// the broker took the right away, the connection broke, or a callback
	// reported an error.
	Lost() <-chan struct{}
	// Err says why Lost was closed; nil before.
	Err() error
	// Close gives the right up. Callbacks still pending report ErrStopped.
	Close()
}

// Incoming is a message as it was received.
type Incoming struct {
	Partition     Partition
	ID            MessageID
	Key           string
	Payload       []byte
	Properties    map[string]string
	EventTime     time.Time
	PublishTime   time.Time
	SchemaVersion int64 // -1: none
	Redeliveries  int
	Producer      string // the name of the producer that sent it
}

// Stamp reads the message's position property.
func (m *Incoming) Stamp() (position.Stamp, error) {
	return position.ParseStamp(m.Properties[position.Property])
}

// Start says where a reader begins.
type Start struct {
	Latest    bool       // after the last message; zero value: the earliest
	After     *MessageID // after this message (its whole entry, if Batch is -1)
	FromEntry *MessageID // at the first message of this entry
}

// Skips reports whether a reader that starts at s leaves out a message that is
// already there.
func (s Start) Skips(id MessageID) bool {
	_, after, inclusive := s.place()
	c := compareIDs(id, after)
	return s.Latest || c < 0 || (c == 0 && !inclusive)
}

// Reader reads one partition without a subscription of its own.
type Reader interface {
	// Next waits for a message.
	Next(ctx context.Context) (*Incoming, error)
	// HasNext reports whether Next would return without waiting for a publish.
	HasNext(ctx context.Context) (bool, error)
	Close()
}

// Consumer is a durable failover subscription to one partition.
type Consumer interface {
	// Receive waits for a message.
	Receive(ctx context.Context) (*Incoming, error)
	// Ack acknowledges this message and all before it in the partition. It may
	// be batched; losing it is harmless.
	Ack(id MessageID) error
	// Active reports whether the broker last said that this one, of all
	// consumers of the subscription, is served.
	Active() bool
	// Close leaves the subscription in place.
	Close()
}

// Client is a connection to a broker. Implementations: Dial (Pulsar) and
// package memory (in-memory, for the pure core and for users' tests). One
// contract suite holds both to the same behaviour.
type Client interface {
	// Acquire becomes the exclusive producer of a partition, lets earlier
	// adds settle and reads the tail. It waits with backoff while another
	// holds the partition, until ctx ends; observer (may be nil) is told who
	// holds it. Errors: ErrTopicMissing, ErrTopicTerminated,
	// ErrDeduplicationOff, ErrHole, ErrForeignMessage, ErrSchemaMissing.
	Acquire(ctx context.Context, r AcquireRequest, waiting func(holder string)) (Producer, Tail, error)
	// Read opens a reader.
	Read(ctx context.Context, p Partition, from Start) (Reader, error)
	// Subscribe opens a failover subscription, from the earliest message when
	// it is new.
	Subscribe(ctx context.Context, p Partition, subscription string) (Consumer, error)
	// DeleteSubscription removes a durable subscription from all partitions of a
	// topic. One that does not exist is no error, one with consumers is ErrAdmin.
	DeleteSubscription(ctx context.Context, topic, subscription string) error
	// Partitions returns the number of partitions, 0 when the topic is not
	// partitioned, ErrTopicMissing when it does not exist.
	Partitions(ctx context.Context, topic string) (int, error)
	// MaxMessageSize returns the largest size in bytes that broker and topic
	// policies accept now.
	MaxMessageSize(ctx context.Context, topic string) (int, error)
	Close()
}
