package contract

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// Run runs the suite. Each scenario gets a fixture of its own.
func Run(t *testing.T, fixture func(t *testing.T) Fixture) {
	for _, c := range []struct {
		name string
		run  func(*scene)
	}{
		{"messages arrive as sent, in order", ordered},
		{"a message may be used again as soon as it is sent", reused},
		{"acquiring reads the tail", tail},
		{"the tail of a batch is its last message", batchTail},
		{"read-back digests what will be replayed", readBack},
		{"a long read-back", longReadBack},
		{"a second producer waits and learns who holds the partition", waits},
		{"a waiting producer takes over", takesOver},
		{"a hole is found", hole},
		{"a fall of the position is found", disorder},
		{"a foreign message is found", foreign},
		{"a message of another producer is found", forged},
		{"foreign messages that are listed are passed over", passedOver},
		{"what a listed message says of its place misleads nobody", misplaced},
		{"ordinals go on behind what is lost", resumed},
		{"missing topics and partitions", missing},
		{"an unregistered schema is refused", schemaMissing},
		{"messages carry their schema's version", schemaVersions},
		{"deduplication off is refused", deduplicationOff},
		{"a terminated topic is refused", terminated},
		{"an oversize message stops the producer", oversize},
		{"the topic's own size limit holds for batches", smallTopic},
		{"a topic that takes smaller messages all of a sudden gets no hole", shrunk},
		{"an unloaded topic ends the run, and the next one is exact", unloaded},
		{"closing reports what is in flight", closing},
		{"readers begin where told", readers},
		{"a reader goes on where it was when its topic was unloaded", readerUnloaded},
		{"one consumer of a subscription is active", failover},
		{"acknowledgements outlive the consumer", acknowledged},
		{"subscriptions are deleted when nobody uses them", deleted},
		{"topics are created once, with a fixed number of partitions", topics},
		{"namespaces keep their policies", namespaces},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(newScene(t, fixture(t)))
		})
	}
}

func ordered(s *scene) {
	p, first := s.acquire(position.Position{})
	if first.Stamp.Ordinal != 0 || first.ReadBack.Count != 0 || first.MaxMessageSize <= 0 {
		s.Fatalf("the tail of an empty partition is %+v", first)
	}
	a := newAcks()
	s.send(p, a, 1, 2000, true)
	a.inOrder(s, 1, 2000)
	all := s.content()
	s.holds(all, 1, 2000)
	for i, m := range all {
		want := s.message(i + 1)
		switch {
		case m.Key != want.Key, string(m.Payload) != string(want.Payload), !m.EventTime.Equal(want.EventTime),
			len(m.Properties) != len(want.Properties), m.Properties["id"] != want.Properties.Get("id"),
			m.Partition != s.part, m.Producer != producerName:
			s.Fatalf("sent %+v, received %+v", want, m)
		case m.ID != a.ids[i]:
			s.Fatalf("acknowledged at %v, found at %v", a.ids[i], m.ID)
		}
	}
	if err := p.Err(); err != nil {
		s.Fatalf("Err of a healthy producer: %v", err)
	}
}

func reused(s *scene) {
	p, _ := s.acquire(position.Position{})
	a := newAcks()
	m := &broker.Outgoing{}
	var memory []byte // of m's strings
	keep := func(text string) string {
		at := len(memory)
		memory = append(memory, text...)
		return unsafe.String(&memory[at], len(text))
	}
	for n := 1; n <= 1000; n++ {
		next := s.message(n)
		memory = memory[:0]
		m.Key, m.Payload, m.EventTime, m.Schema = keep(next.Key), append(m.Payload[:0], next.Payload...), next.EventTime, next.Schema
		m.Properties = m.Properties[:0]
		for _, p := range next.Properties {
			m.Properties = append(m.Properties, properties.Pair{Name: keep(p.Name), Value: keep(p.Value)})
		}
		p.Send(s.ctx, m, a.done(n))
		if n == 1 {
			a.wait(s, 1)
		}
	}
	a.inOrder(s, 1, 1000)
	all := s.content()
	s.holds(all, 1, 1000)
	for i, got := range all {
		if want := s.message(i + 1); got.Key != want.Key || string(got.Payload) != string(want.Payload) || got.Properties["id"] != want.Properties.Get("id") {
			s.Fatalf("sent %+v, received %+v", want, got)
		}
	}
}

func schemaMissing(s *scene) {
	known := s.schema
	s.schema = &broker.Schema{Name: "Other", JSON: strings.Replace(Definition, "text", "other", 1)}
	s.acquireFails(broker.ErrSchemaMissing)
	unknown := s.schema
	s.schema = known
	p, _ := s.acquire(position.Position{})
	a := newAcks()
	s.send(p, a, 1, 1, true)
	s.schema = unknown
	s.send(p, a, 2, 2, false)
	a.wait(s, 2)
	if !errors.Is(a.errs[1], broker.ErrSchemaMissing) {
		s.Fatalf("sending under an unregistered schema: %v", a.errs[1])
	}
	s.schema = known
	s.holds(s.content(), 1, 1)
}

func schemaVersions(s *scene) {
	old := s.schema
	wide := s.Schema(s.T, s.topic, "Event", strings.Replace(Definition, `"string"}`, `"string"},{"name":"more","type":["null","string"],"default":null}`, 1))
	if old.Version != 0 || wide.Version != 1 {
		s.Fatalf("versions %d and %d", old.Version, wide.Version)
	}
	p, _ := s.acquire(position.Position{})
	a := newAcks()
	for n := 1; n <= 30; n++ {
		s.schema = old
		if n%4 == 0 {
			s.schema = wide
		}
		s.send(p, a, n, n, n == 1)
	}
	a.inOrder(s, 1, 30)
	all := s.content()
	s.holds(all, 1, 30)
	for i, m := range all {
		want := int64(0)
		if (i+1)%4 == 0 {
			want = 1
		}
		if m.SchemaVersion != want {
			s.Fatalf("message %d carries version %d, want %d", i+1, m.SchemaVersion, want)
		}
	}
}
