package memory

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// Broker is a cluster. All methods are safe for concurrent use.
type Broker struct {
	*Conn // the Broker's own connection makes it a Client

	mu         sync.Mutex // guards everything below and all partitions
	changed    chan struct{}
	namespaces map[string]broker.NamespacePolicy
	topics     map[string]*topic
	hook       func(Add) Fate
	maxSize    int
	connected  int
}

var (
	_ broker.Client = (*Broker)(nil)
	_ broker.Client = (*Conn)(nil)
	_ broker.Admin  = (*Broker)(nil)
)

// MaxMessageSize is the broker's own limit in bytes, as Pulsar's default.
const MaxMessageSize = 5 << 20

// New returns an empty broker.
func New() *Broker {
	b := &Broker{
		changed:    make(chan struct{}),
		namespaces: make(map[string]broker.NamespacePolicy),
		topics:     make(map[string]*topic),
		maxSize:    MaxMessageSize,
	}
	b.Conn = b.Connect("memory")
	return b
}

// Connect opens another connection, as another process would.
func (b *Broker) Connect(name string) *Conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.connected++
	return &Conn{b: b, name: name, number: b.connected}
}

type topic struct {
	name          string
	partitions    []*partition // nil: not partitioned
	schemas       []broker.Schema
	maxSize       int // the topic's policy; 0: none
	deduplication bool
	terminated    bool
}

// partition holds messages in order. Entries of one ledger are numbered from
// 0; a new ledger begins when the partition is loaded anew.
type partition struct {
	id      broker.Partition
	topic   *topic
	log     []*message
	trimmed int // messages of log that retention removed
	ledger  int64
	entry   int64 // the next one

	owner   *producer
	held    bool // adds wait in pending
	pending []*add
	subs    map[string]*subscription
}

type message struct {
	broker.Incoming
}

// add is one entry on its way into a partition.
type add struct {
	from     *producer // nil: nobody waits for an acknowledgement
	name     string    // the producer's
	messages []*broker.Outgoing
}

// nextLedger is what loading a partition anew does.
func (p *partition) nextLedger() { p.ledger, p.entry = p.ledger+1, 0 }

// store appends one entry and returns the ids of its messages.
func (p *partition) store(a *add) []broker.MessageID {
	ids := make([]broker.MessageID, len(a.messages))
	for i, m := range a.messages {
		ids[i] = broker.MessageID{Ledger: p.ledger, Entry: p.entry, Batch: int32(i), BatchSize: int32(len(a.messages))}
		p.log = append(p.log, &message{broker.Incoming{
			Partition: p.id, ID: ids[i], Key: m.Key,
			Payload:    append([]byte{}, m.Payload...), // the sender may use its own again
			Properties: m.Properties.Map(), EventTime: m.EventTime, PublishTime: now(),
			SchemaVersion: p.topic.version(m.Schema), Producer: a.name,
		}})
	}
	p.entry++
	return ids
}

// version returns a schema's version in the registry, -1 when it has none.
func (t *topic) version(s *broker.Schema) int64 {
	if s == nil {
		return -1
	}
	return int64(slices.IndexFunc(t.schemas, func(r broker.Schema) bool { return r.JSON == s.JSON }))
}

// notify wakes everything that waits. b.mu is held.
func (b *Broker) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// await waits until ready says so, under b.mu, which it holds when it returns
// nil.
func (b *Broker) await(ctx context.Context, ready func() bool) error {
	b.mu.Lock()
	for !ready() {
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		b.mu.Lock()
	}
	return nil
}

// partition finds a partition. b.mu is held.
func (b *Broker) partition(q broker.Partition) (*partition, error) {
	t := b.topics[q.Topic]
	switch {
	case t == nil:
		return nil, broker.ErrTopicMissing.New("%s does not exist", q.Topic)
	case t.partitions == nil:
		return nil, broker.ErrTopicMissing.New("%s exists, but is not partitioned", q.Topic)
	case q.Index < 0 || q.Index >= len(t.partitions):
		return nil, broker.ErrTopicMissing.New("%s has %d partitions, so there is no partition %d", q.Topic, len(t.partitions), q.Index)
	}
	return t.partitions[q.Index], nil
}

// Messages returns what a partition holds, for assertions.
func (b *Broker) Messages(q broker.Partition) ([]broker.Incoming, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, err := b.partition(q)
	if err != nil {
		return nil, err
	}
	var all []broker.Incoming
	for _, m := range p.log[p.trimmed:] {
		all = append(all, m.Incoming)
	}
	return all, nil
}

// Owner describes who holds a partition; "" when nobody does.
func (b *Broker) Owner(q broker.Partition) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, err := b.partition(q)
	if err != nil || p.owner == nil {
		return ""
	}
	return p.owner.String()
}

func (r *producer) String() string {
	return fmt.Sprintf("%s at %s (connection %d)", r.name, r.conn.name, r.conn.number)
}
