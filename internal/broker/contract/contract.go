package contract

import (
	"context"
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

func tail(s *scene) {
	s.fill(1, 5)
	p, at := s.acquire(stamp(6).Position)
	if at.Stamp != stamp(5) || at.ReadBack != (position.Digest{}) {
		s.Fatalf("tail %+v, want %v and nothing read back", at, stamp(5))
	}
	a := newAcks()
	s.send(p, a, 6, 10, true)
	a.inOrder(s, 6, 10)
	s.holds(s.content(), 1, 10)
}

func batchTail(s *scene) {
	s.fill(1, 300)
	_, at := s.acquire(stamp(301).Position)
	all := s.content()
	if last := all[len(all)-1]; at.Stamp != stamp(300) || at.Last != last.ID {
		s.Fatalf("tail %v at %v, want %v at %v", at.Stamp, at.Last, stamp(300), last.ID)
	}
}

func readBack(s *scene) {
	s.fill(1, 40)
	for _, from := range []int{1, 2, 20, 39, 40, 41} {
		p, at := s.acquire(stamp(from).Position)
		if want := digest(from, 40); at.ReadBack != want || at.Stamp != stamp(40) {
			s.Fatalf("replaying from %d: tail %v, digest %+v, want %+v", from, at.Stamp, at.ReadBack, want)
		}
		p.Close()
	}
	// What the database has lost stays where it is, and is not digested.
	r := s.request(stamp(20).Position)
	r.History = position.History{{Epoch: 1}, {Epoch: 2, Begin: stamp(31).LSN}}
	p, at, err := s.client.Acquire(s.ctx, r, nil)
	if err != nil {
		s.Fatalf("Acquire: %v", err)
	}
	p.Close()
	if want := digest(20, 30); at.ReadBack != want || at.Stamp != stamp(40) {
		s.Fatalf("with a history: tail %v, digest %+v, want %+v", at.Stamp, at.ReadBack, want)
	}
}

func longReadBack(s *scene) {
	// One entry each, so that stepping back by entries has something to do.
	var all []*broker.Outgoing
	for n := 1; n <= 200; n++ {
		all = append(all, s.message(n))
	}
	s.Publish(s.T, s.part, producerName, all...)
	for _, from := range []int{1, 3, 70, 150} {
		p, at := s.acquire(stamp(from).Position)
		if want := digest(from, 200); at.ReadBack != want {
			s.Fatalf("replaying from %d: digest %+v, want %+v", from, at.ReadBack, want)
		}
		p.Close()
	}
}

func waits(s *scene) {
	s.acquire(position.Position{})
	ctx, cancel := context.WithCancel(s.ctx)
	second := s.Connect(s.T, "second")
	var holder string
	_, _, err := second.Acquire(ctx, s.request(position.Position{}), func(h string) { holder = h; cancel() })
	if !errors.Is(err, broker.ErrNotOwner) || !errors.Is(err, context.Canceled) {
		s.Fatalf("Acquire beside an owner: %v", err)
	}
	if !strings.Contains(holder, "runnel-test-1") {
		s.Fatalf("the holder is said to be %q", holder)
	}
}

func takesOver(s *scene) {
	p, _ := s.acquire(position.Position{})
	a := newAcks()
	s.send(p, a, 1, 100, true)
	a.inOrder(s, 1, 100)
	second := s.Connect(s.T, "second")
	q, at, err := second.Acquire(s.ctx, s.request(stamp(51).Position), func(string) { go p.Close() })
	if err != nil {
		s.Fatal(err)
	}
	defer q.Close()
	if at.Stamp != stamp(100) || at.ReadBack != digest(51, 100) {
		s.Fatalf("tail %+v", at)
	}
	late := newAcks()
	p.Send(s.ctx, s.message(101), late.done(101))
	late.wait(s, 1)
	if !errors.Is(late.errs[0], broker.ErrStopped) {
		s.Fatalf("sending through a closed producer: %v", late.errs[0])
	}
	s.send(q, newAcks(), 101, 101, true)
	s.holds(s.content(), 1, 101)
}

func hole(s *scene) {
	s.Publish(s.T, s.part, producerName, s.message(1), s.message(2), s.message(4), s.message(5))
	err := s.acquireFails(broker.ErrHole)
	if text := err.Error(); !strings.Contains(text, stamp(2).Position.String()) || !strings.Contains(text, stamp(4).Position.String()) {
		s.Fatalf("%q does not name both sides of the hole", text)
	}
	// Below what will be replayed, nobody looks.
	p, at := s.acquire(stamp(5).Position)
	if at.Stamp != stamp(5) {
		s.Fatalf("tail %+v", at)
	}
	p.Close()
}

func disorder(s *scene) {
	wrong := s.message(2)
	wrong.Properties[0].Value = position.Stamp{Position: stamp(1).Position, Ordinal: 2}.String()
	s.Publish(s.T, s.part, producerName, s.message(1), wrong)
	s.acquireFails(broker.ErrHole)
}

func foreign(s *scene) {
	alien := s.message(2)
	alien.Properties = alien.Properties[1:] // without position
	s.Publish(s.T, s.part, producerName, s.message(1), alien)
	s.acquireFails(broker.ErrForeignMessage)
}

// forged looks like the pipeline's, but for who sent it.
func forged(s *scene) {
	s.fill(1, 2)
	s.Publish(s.T, s.part, stranger, s.message(3))
	s.acquireFails(broker.ErrForeignMessage)
}

// passedOver: messages that are listed do not count, wherever they lie; an own one that
// is listed does.
func passedOver(s *scene) {
	alien := s.message(1)
	alien.Properties = properties.List{{Name: "id", Value: "x"}}
	strange := func(n int) {
		for range n {
			s.Publish(s.T, s.part, stranger, alien)
		}
	}
	r := s.request(stamp(5).Position)
	strange(2)
	s.resume(r, 1, 4)
	strange(1)
	s.resume(r, 5, 8)
	strange(70) // more than the read-back steps back at first
	p, tail := s.passing(r)
	defer p.Close()
	if tail.Stamp != stamp(8) || tail.ReadBack.Count != 4 {
		s.Fatalf("the tail is %+v", tail)
	}
	a := newAcks()
	s.send(p, a, 9, 9, true)
	a.inOrder(s, 9, 9)
}

// misplaced: the read-back steps back to messages of another producer, which say that
// they are the first.
func misplaced(s *scene) {
	publish := func(producer string, from, to int) {
		for n := from; n <= to; n++ {
			s.Publish(s.T, s.part, producer, s.message(n))
		}
	}
	publish(producerName, 1, 40)
	for range 10 {
		publish(stranger, 1, 1)
	}
	publish(producerName, 41, 100) // 64 entries before the last one is a stranger's
	p, tail := s.passing(s.request(stamp(20).Position))
	p.Close()
	if want := digest(20, 100); tail.ReadBack != want || tail.Stamp != stamp(100) {
		s.Fatalf("the tail is %+v, want the digest %+v", tail, want)
	}
}

// passing acquires with everything listed that is in the partition.
func (s *scene) passing(r broker.AcquireRequest) (broker.Producer, broker.Tail) {
	s.Helper()
	if p, _, err := s.client.Acquire(s.ctx, r, nil); !errors.Is(err, broker.ErrForeignMessage) {
		if err == nil {
			p.Close()
		}
		s.Fatalf("Acquire beside foreign messages: %v", err)
	}
	var names []string
	for _, m := range s.content() {
		names = append(names, m.Name())
	}
	var err error
	if r.Foreign, err = broker.ParseForeign(names); err != nil {
		s.Fatal(err)
	}
	p, tail, err := s.client.Acquire(s.ctx, r, nil)
	if err != nil {
		s.Fatalf("Acquire: %v", err)
	}
	return p, tail
}

// resume publishes the messages from one to another behind foreign ones.
func (s *scene) resume(r broker.AcquireRequest, from, to int) {
	s.Helper()
	p, _ := s.passing(r)
	defer p.Close()
	a := newAcks()
	s.send(p, a, from, to, true)
	a.inOrder(s, from, to)
}

// resumed: behind messages that are lost for good the ordinals go on where they were.
func resumed(s *scene) {
	s.Publish(s.T, s.part, producerName, s.message(1), s.message(2), s.message(6), s.message(7))
	r := s.request(stamp(2).Position)
	r.Resumed = 4
	if _, _, err := s.client.Acquire(s.ctx, r, nil); !errors.Is(err, broker.ErrHole) {
		s.Fatalf("another hole: %v", err)
	}
	r.Resumed = 5
	p, tail, err := s.client.Acquire(s.ctx, r, nil)
	if err != nil || tail.Stamp != stamp(7) || tail.ReadBack != digest(6, 7) || tail.Lost != stamp(6).Position {
		s.Fatalf("%+v, %v", tail, err)
	}
	p.Close()
}

func missing(s *scene) {
	name := s.Missing(s.T)
	if _, err := s.client.Partitions(s.ctx, name); !errors.Is(err, broker.ErrTopicMissing) {
		s.Errorf("Partitions of a missing topic: %v", err)
	}
	if n, err := s.client.Partitions(s.ctx, s.topic); n != 2 || err != nil {
		s.Errorf("Partitions: %d, %v", n, err)
	}
	plain := s.Unparted(s.T)
	if n, err := s.client.Partitions(s.ctx, plain); n != 0 || err != nil {
		s.Errorf("Partitions of a topic without: %d, %v", n, err)
	}
	for _, q := range []broker.Partition{{Topic: name}, {Topic: plain}, {Topic: s.topic, Index: 2}, {Topic: s.topic, Index: -1}} {
		s.part = q
		s.acquireFails(broker.ErrTopicMissing)
		if _, err := s.client.Read(s.ctx, q, broker.Start{}); !errors.Is(err, broker.ErrTopicMissing) {
			s.Errorf("Read of %v: %v", q, err)
		}
		if _, err := s.client.Subscribe(s.ctx, q, "sub"); !errors.Is(err, broker.ErrTopicMissing) {
			s.Errorf("Subscribe to %v: %v", q, err)
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

func deduplicationOff(s *scene) {
	s.SetDeduplication(s.T, s.topic, false)
	s.acquireFails(broker.ErrDeduplicationOff)
	s.SetDeduplication(s.T, s.topic, true)
	p, _ := s.acquire(position.Position{})
	p.Close()
}

func terminated(s *scene) {
	s.fill(1, 3)
	s.Terminate(s.T, s.topic)
	s.acquireFails(broker.ErrTopicTerminated)
	s.holds(s.content(), 1, 3)
}
