package consumertest

import (
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// topic is what the daemon and the registry know of a topic.
type topic struct {
	name     string
	events   []*schemas.EventType // the newest version of each
	versions []*schemas.TopicSchema
	codec    *schemas.TopicCodec
	passed   []uint64      // the last ordinal of each partition that the database has from before
	times    [][]time.Time // when each message of each partition was published
	what     [][]string    // what each is: TYPE AGGREGATE-ID
}

// Given puts events into the topics of their aggregate types, in order, as the
// daemon does when their transaction has committed. ID defaults to a new one and
// OccurredAt to the clock's time; headers are as given. Events that
// outboxtest.Published returned are taken as they are, so that services can be
// chained.
func (h *Harness) Given(events ...outbox.Event) {
	h.t.Helper()
	for i, e := range events {
		if e.Payload == nil {
			h.t.Fatalf("events[%d], of %q, has no Payload", i, e.AggregateID)
		}
		aggregate := e.Payload.EventType().AggregateType
		at := slices.IndexFunc(h.about.Topics, func(name string) bool { return local(name) == aggregate })
		if at < 0 {
			h.t.Fatalf("events[%d] is %s of aggregate type %s, and projection %s reads %v\n→ Give it to the projection that reads it; or, where routes lead it into another topic, use GivenOn.",
				i, e.Payload.EventType().Name, aggregate, h.about.Name, h.about.Topics)
		}
		h.publish(h.about.Topics[at], e)
	}
}

// GivenOn is Given for a topic that routes lead the events into, by its local or
// full name.
func (h *Harness) GivenOn(topic string, events ...outbox.Event) {
	h.t.Helper()
	at := slices.IndexFunc(h.about.Topics, func(name string) bool { return name == topic || local(name) == topic })
	if at < 0 {
		h.t.Fatalf("projection %s does not read topic %s, but %v", h.about.Name, topic, h.about.Topics)
	}
	for i, e := range events {
		if e.Payload == nil {
			h.t.Fatalf("events[%d], of %q, has no Payload", i, e.AggregateID)
		}
		h.publish(h.about.Topics[at], e)
	}
}

// local returns a topic's name within its namespace.
func local(topic string) string { return topic[strings.LastIndexByte(topic, '/')+1:] }

// makeTopics makes the topics in the broker. They go on where the database stands,
// or it would take new events for ones that it has.
func (h *Harness) makeTopics() {
	h.t.Helper()
	for _, name := range h.about.Topics {
		h.makeTopic(name)
	}
	known, err := consumers.Positions(h.t.Context(), h.db, h.about.Name)
	if err != nil {
		h.fatal("reading the projection's positions", err)
	}
	h.last.Epoch = 1
	for _, p := range known {
		if t := h.topics[p.Topic]; t != nil && p.Version == h.about.Version && p.Partition < h.partitions {
			t.passed[p.Partition] = p.Ordinal
			if h.last.Less(p.Position) {
				h.last = p.Position
			}
		}
	}
}

func (h *Harness) makeTopic(name string) {
	h.t.Helper()
	ctx := h.t.Context()
	namespace := strings.TrimSuffix(strings.TrimPrefix(name, "persistent://"), "/"+local(name))
	_, err := h.broker.EnsureNamespace(ctx, namespace, broker.NamespacePolicy{})
	if err == nil {
		_, err = h.broker.EnsureTopic(ctx, name, h.partitions, nil)
	}
	if err != nil {
		h.fatal("making topic "+name, err)
	}
	h.topics[name] = &topic{name: name, passed: make([]uint64, h.partitions), times: make([][]time.Time, h.partitions), what: make([][]string, h.partitions)}
}

// publish appends one message. Positions rise, and ordinals are dense in each
// partition, as the daemon keeps them.
func (h *Harness) publish(to string, e outbox.Event) {
	h.t.Helper()
	t, event := h.topics[to], e.Payload.EventType()
	raw, err := e.Payload.AppendAvro(nil)
	if err != nil {
		h.fatal("the payload of "+event.Name, err)
	}
	if e.AggregateID == "" {
		h.t.Fatalf("%s has no AggregateID", event.Name)
	}
	data, under := h.encode(t, event, raw)
	if e.ID == uuid.Nil {
		if e.ID, err = uuid.NewV7(); err != nil {
			h.fatal("making an event id", err)
		}
	}
	if e.OccurredAt.IsZero() {
		e.OccurredAt = h.clock.Now()
	}
	of := broker.Partition{Topic: to, Index: router.PartitionOf([]byte(e.AggregateID), h.partitions)}
	h.last = position.Position{Epoch: h.last.Epoch, LSN: h.last.LSN + 16}
	stamp := position.Stamp{Position: h.last, Ordinal: t.passed[of.Index] + uint64(len(t.times[of.Index])) + 1}
	all := map[string]string{"id": e.ID.String(), "type": event.Name, position.Property: stamp.String()}
	for name, value := range e.Headers {
		if _, reserved := all[name]; reserved || name == "" {
			h.t.Fatalf("header %q of %s is a property of every message", name, event.Name)
		}
		all[name] = value
	}
	err = h.broker.LateAdd(of, "consumertest", &broker.Outgoing{
		Key: e.AggregateID, Payload: data, Properties: properties.FromMap(all),
		EventTime: e.OccurredAt.Truncate(time.Millisecond), // as Pulsar keeps it
		Schema:    &broker.Schema{Name: under.Name, JSON: under.JSON, Version: under.Version},
	})
	if err != nil {
		h.fatal("publishing "+event.Name, err)
	}
	t.what[of.Index] = append(t.what[of.Index], event.Name+" "+e.AggregateID)
	t.times[of.Index] = append(t.times[of.Index], h.clock.Now().Truncate(time.Millisecond))
}

// encode returns the message's bytes, registering a version of the topic's schema
// when none has the event.
func (h *Harness) encode(t *topic, event *schemas.EventType, raw []byte) ([]byte, *schemas.TopicSchema) {
	h.t.Helper()
	if t.codec != nil {
		if data, under, err := t.codec.AppendAvro(nil, event.Name, event.Fingerprint, raw); err == nil {
			return data, under
		}
	}
	if event.Schema == nil {
		h.t.Fatalf("the schema of %s is not known here: no generated type of this program has it", event.Name)
	}
	t.events = append(slices.DeleteFunc(t.events, func(e *schemas.EventType) bool { return e.Name == event.Name }), event)
	var previous *schemas.TopicSchema
	if n := len(t.versions); n > 0 {
		previous = t.versions[n-1]
	}
	made, err := schemas.Compose(local(t.name), t.events, previous)
	if err != nil {
		h.fatal("composing the schema of topic "+t.name, err)
	}
	version, err := h.registry.Register(h.t.Context(), t.name, made)
	if err != nil {
		h.fatal("registering the schema of topic "+t.name, err)
	}
	registered, err := schemas.ParseTopicSchema(made.JSON, version)
	if err != nil {
		h.fatal("reading the schema of topic "+t.name, err)
	}
	t.versions = append(t.versions, registered)
	if t.codec, err = schemas.NewTopicCodec(t.versions); err != nil {
		h.fatal("using the schema of topic "+t.name, err)
	}
	data, under, err := t.codec.AppendAvro(nil, event.Name, event.Fingerprint, raw)
	if err != nil {
		h.fatal("encoding "+event.Name, err)
	}
	return data, under
}
