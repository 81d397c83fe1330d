package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// scripted is a broker and a registry that a test holds by the hand: it drops
// acknowledgements, breaks connections and hands partitions over on command,
// while stale consumers keep what they have fetched.
type scripted struct {
	broker.Client // what a consumer has no use for

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced at every change
	partitions map[string]int
	versions   map[string][]*schemas.TopicSchema
	logs       map[broker.Partition][]*broker.Incoming
	acked      map[string]int // messages acknowledged, by partition and subscription
	holders    map[string][]*scriptedConsumer
	dropAcks   bool
	mute       bool // the subscription delivers nothing
	reads      int  // how many readers were opened
	readErr    error
	asked      int // how often a consumer asked whether it is active
	noRegistry int // how many requests the registry still fails
	lsn        uint64
}

func newScripted(topics map[string]int) *scripted {
	return &scripted{
		changed: make(chan struct{}), partitions: topics,
		versions: make(map[string][]*schemas.TopicSchema),
		logs:     make(map[broker.Partition][]*broker.Incoming),
		acked:    make(map[string]int), holders: make(map[string][]*scriptedConsumer),
	}
}

// change runs f and wakes whoever waits.
func (s *scripted) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

const orders = "persistent://public/runnel/order"

// register adds a version of a topic's schema, made of events.
func (s *scripted) register(t testing.TB, topic string, events ...*schemas.EventType) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var previous *schemas.TopicSchema
	if n := len(s.versions[topic]); n > 0 {
		previous = s.versions[topic][n-1]
	}
	made, err := schemas.Compose("order", events, previous)
	if err != nil {
		t.Fatal(err)
	}
	made, err = schemas.ParseTopicSchema(made.JSON, int64(len(s.versions[topic])))
	if err != nil {
		t.Fatal(err)
	}
	s.versions[topic] = append(s.versions[topic], made)
}

// publish appends an event to a partition, under the next position.
func (s *scripted) publish(t testing.TB, of broker.Partition, key string, p schemas.Payload) *broker.Incoming {
	t.Helper()
	m := s.message(t, of, key, p)
	s.change(func() { s.logs[of] = append(s.logs[of], m) })
	return m
}

// message makes a message without publishing it.
func (s *scripted) message(t testing.TB, of broker.Partition, key string, p schemas.Payload) *broker.Incoming {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	codec, err := schemas.NewTopicCodec(s.versions[of.Topic])
	if err != nil {
		t.Fatal(err)
	}
	raw, err := p.AppendAvro(nil)
	if err != nil {
		t.Fatal(err)
	}
	event := p.EventType()
	data, under, err := codec.AppendAvro(nil, event.Name, event.Fingerprint, raw)
	if err != nil {
		t.Fatal(err)
	}
	s.lsn += 16
	var entry int64
	var last position.Stamp // also after a hole, and after what Runnel did not write
	for _, m := range s.logs[of] {
		entry = m.ID.Entry + 1
		if stamp, err := position.ParseStamp(m.Properties[position.Property]); err == nil {
			last = stamp
		}
	}
	stamp := position.Stamp{Position: position.Position{Epoch: 1, LSN: s.lsn}, Ordinal: last.Ordinal + 1}
	return &broker.Incoming{
		Partition: of, ID: broker.MessageID{Ledger: 1, Entry: entry, Batch: -1}, Key: key, Payload: data,
		Properties: map[string]string{"id": uuid.NewString(), "type": event.Name, "position": stamp.String(), "traceparent": "00-1"},
		EventTime:  time.UnixMilli(1_700_000_000_000), PublishTime: time.UnixMilli(1_700_000_000_500),
		SchemaVersion: under.Version,
	}
}

// foreign appends a message that Runnel did not write, and returns its name.
func (s *scripted) foreign(of broker.Partition) (name string) {
	s.change(func() {
		var entry int64
		if n := len(s.logs[of]); n > 0 {
			entry = s.logs[of][n-1].ID.Entry + 1
		}
		m := &broker.Incoming{Partition: of, ID: broker.MessageID{Ledger: 1, Entry: entry, Batch: -1}, Payload: []byte("hello"), SchemaVersion: -1}
		s.logs[of] = append(s.logs[of], m)
		name = of.String() + " " + m.ID.String()
	})
	return name
}

// events counts what Runnel wrote.
func events(log []*broker.Incoming) (n int) {
	for _, m := range log {
		if m.Properties[position.Property] != "" {
			n++
		}
	}
	return n
}

// append adds messages as they are.
func (s *scripted) append(of broker.Partition, messages ...*broker.Incoming) {
	s.change(func() { s.logs[of] = append(s.logs[of], messages...) })
}

// Version is the registry.
func (s *scripted) Version(_ context.Context, topic string, version int64) (*schemas.TopicSchema, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noRegistry > 0 {
		s.noRegistry--
		return nil, errors.New("no answer")
	}
	if version < 0 || version >= int64(len(s.versions[topic])) {
		return nil, fmt.Errorf("no version %d", version)
	}
	return s.versions[topic][version], nil
}

func (s *scripted) Partitions(_ context.Context, topic string) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n, ok := s.partitions[topic]; ok {
		return n, nil
	}
	return 0, broker.ErrTopicMissing.New("%s", topic)
}

func (s *scripted) Close() {}

func (s *scripted) Subscribe(_ context.Context, of broker.Partition, name string) (broker.Consumer, error) {
	c := &scriptedConsumer{s: s, of: of, key: of.String() + " " + name}
	s.change(func() { s.holders[c.key] = append(s.holders[c.key], c) })
	return c, nil
}

// handOver gives a partition to the next consumer, from the last
// acknowledgement on. The one before stays, and may yet be served again.
func (s *scripted) handOver(of broker.Partition, name string) {
	s.change(func() {
		key := of.String() + " " + name
		if held := s.holders[key]; len(held) > 1 {
			s.holders[key] = append(held[1:], held[0])
			s.holders[key][0].next = s.acked[key]
		}
	})
}

// leaveOut makes the subscription forget n messages that it has to deliver.
func (s *scripted) leaveOut(of broker.Partition, name string, n int) {
	s.change(func() { s.holders[of.String()+" "+name][0].next += n })
}

// DeleteSubscription forgets what was acknowledged.
func (s *scripted) DeleteSubscription(_ context.Context, topic, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.partitions[topic] {
		key := (broker.Partition{Topic: topic, Index: i}).String() + " " + name
		if len(s.holders[key]) > 0 {
			return errors.New("the subscription has consumers")
		}
		delete(s.acked, key)
	}
	return nil
}

// Read reads the log, whatever the subscriptions do.
func (s *scripted) Read(_ context.Context, of broker.Partition, from broker.Start) (broker.Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if err := s.readErr; err != nil {
		s.readErr = nil
		return nil, err
	}
	r := &scriptedReader{}
	for _, m := range s.logs[of] {
		if !from.Skips(m.ID) {
			r.log = append(r.log, m)
		}
	}
	return r, nil
}

type scriptedReader struct{ log []*broker.Incoming }

func (r *scriptedReader) Next(context.Context) (*broker.Incoming, error) {
	m := r.log[0]
	r.log = r.log[1:]
	return m, nil
}
func (r *scriptedReader) HasNext(context.Context) (bool, error) { return len(r.log) > 0, nil }
func (r *scriptedReader) Close()                                {}

// breakAll breaks every consumer's connection once.
func (s *scripted) breakAll() {
	s.change(func() {
		for _, held := range s.holders {
			for _, c := range held {
				c.broken = true
			}
		}
	})
}

func (s *scripted) ackedOf(of broker.Partition, name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked[of.String()+" "+name]
}

type scriptedConsumer struct {
	s      *scripted
	of     broker.Partition
	key    string
	next   int
	broken bool
	served bool
}

func (c *scriptedConsumer) Receive(ctx context.Context) (*broker.Incoming, error) {
	for {
		c.s.mu.Lock()
		changed := c.s.changed
		if c.broken {
			c.s.mu.Unlock()
			return nil, errors.New("connection lost")
		}
		if c.s.holders[c.key][0] == c {
			if !c.served {
				c.served, c.next = true, c.s.acked[c.key]
			}
			if log := c.s.logs[c.of]; c.next < len(log) && !c.s.mute {
				m := log[c.next]
				c.next++
				c.s.mu.Unlock()
				return m, nil
			}
		}
		c.s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *scriptedConsumer) Ack(id broker.MessageID) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.s.dropAcks {
		return errors.New("acknowledgement lost")
	}
	c.s.acked[c.key] = max(c.s.acked[c.key], int(id.Entry)+1)
	return nil
}

func (c *scriptedConsumer) Active() bool {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.asked++
	return c.s.holders[c.key][0] == c
}

func (c *scriptedConsumer) Close() {
	c.s.change(func() {
		held := c.s.holders[c.key]
		for i, other := range held {
			if other == c {
				c.s.holders[c.key] = append(append([]*scriptedConsumer{}, held[:i]...), held[i+1:]...)
			}
		}
	})
}
