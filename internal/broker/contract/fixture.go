// Package contract is one suite of behaviour that every broker.Client must
// show: Pulsar and the one in memory.
//
// Start with Run in contract.go, which lists the scenarios; each is a function of its
// own, there or in the file of its kind: acquiring, foreign, stopping, reading. A scenario
// states what the rest of Runnel may rely on, in the words of the design's
// rules for publishing exactly once.
package contract

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// Fixture is a broker under test. Topics are fresh ones; connections close
// with the test.
type Fixture struct {
	Connect  func(t *testing.T, name string) broker.Client
	Admin    broker.Admin
	Topic    func(t *testing.T, partitions int) string
	Schema   func(t *testing.T, topic, name, definition string) *broker.Schema
	Missing  func(t *testing.T) string // a topic name that does not exist
	Unparted func(t *testing.T) string // a topic without partitions

	// Publish sends messages past the interface, one entry each, as a producer of that name.
	Publish           func(t *testing.T, p broker.Partition, producer string, m ...*broker.Outgoing)
	SetMaxMessageSize func(t *testing.T, topic string, bytes int)
	SetDeduplication  func(t *testing.T, topic string, on bool)
	Unload            func(t *testing.T, topic string)
	Terminate         func(t *testing.T, topic string)
}

// patience bounds every wait of the suite.
const patience = 30 * time.Second

// Definition is an AVRO schema for the suite's messages.
const Definition = `{"type":"record","name":"Event","fields":[{"name":"text","type":"string"}]}`

// scene is one scenario's surroundings.
type scene struct {
	*testing.T
	Fixture
	ctx    context.Context
	topic  string
	part   broker.Partition
	schema *broker.Schema
	client broker.Client
}

func newScene(t *testing.T, f Fixture) *scene {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s := &scene{T: t, Fixture: f, ctx: ctx}
	s.topic = f.Topic(t, 2)
	s.part = broker.Partition{Topic: s.topic, Index: 1}
	s.schema = f.Schema(t, s.topic, "Event", Definition)
	s.client = f.Connect(t, "first")
	return s
}

// stamp is the nth message's: ordinals from 1, LSNs 10 apart.
func stamp(n int) position.Stamp {
	return position.Stamp{Position: position.Position{Epoch: 1, LSN: uint64(10 * n), Index: uint32(n % 3)}, Ordinal: uint64(n)}
}

// message is the nth message. Its payload is the AVRO string "n".
func (s *scene) message(n int) *broker.Outgoing {
	text := fmt.Sprint(n)
	return &broker.Outgoing{
		Key:        "key-" + text,
		Payload:    append([]byte{byte(2 * len(text))}, text...),
		Properties: properties.List{{Name: position.Property, Value: stamp(n).String()}, {Name: "id", Value: text}, {Name: "type", Value: "Event"}},
		EventTime:  time.UnixMilli(1_700_000_000_000 + int64(n)),
		Schema:     s.schema,
	}
}

// producerName is who the suite publishes as; stranger is somebody else.
const (
	producerName = "runnel-test-1"
	stranger     = "stranger"
)

func (s *scene) request(replayed position.Position) broker.AcquireRequest {
	return broker.AcquireRequest{Partition: s.part, Producer: producerName, Schema: s.schema, Replayed: replayed}
}

func (s *scene) acquire(replayed position.Position) (broker.Producer, broker.Tail) {
	s.Helper()
	p, tail, err := s.client.Acquire(s.ctx, s.request(replayed), nil)
	if err != nil {
		s.Fatalf("Acquire: %v", err)
	}
	s.Cleanup(p.Close)
	return p, tail
}

// acquireFails expects an error with the code.
func (s *scene) acquireFails(want error) error {
	s.Helper()
	p, _, err := s.client.Acquire(s.ctx, s.request(position.Position{}), nil)
	if err == nil {
		p.Close()
	}
	if !errors.Is(err, want) {
		s.Fatalf("Acquire: %v, want %v", err, want)
	}
	return err
}

// acks collects callbacks.
type acks struct {
	mu    sync.Mutex
	order []int
	ids   []broker.MessageID
	errs  []error
	twice []int
	seen  map[int]bool
	ring  chan struct{}
}

func newAcks() *acks { return &acks{seen: make(map[int]bool), ring: make(chan struct{}, 1)} }

func (a *acks) done(n int) func(broker.MessageID, error) {
	return func(id broker.MessageID, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.seen[n] {
			a.twice = append(a.twice, n)
		}
		a.seen[n] = true
		a.order, a.ids, a.errs = append(a.order, n), append(a.ids, id), append(a.errs, err)
		select {
		case a.ring <- struct{}{}:
		default:
		}
	}
}

// wait waits for n callbacks.
func (a *acks) wait(s *scene, n int) {
	s.Helper()
	for {
		a.mu.Lock()
		have := len(a.order)
		a.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-a.ring:
		case <-s.ctx.Done():
			s.Fatalf("%d of %d callbacks came", have, n)
		}
	}
}

// inOrder expects each callback once, without an error, in the order of
// sending, and rising ids.
func (a *acks) inOrder(s *scene, from, to int) {
	s.Helper()
	a.wait(s, to-from+1)
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, n := range a.order {
		if n != from+i || a.errs[i] != nil {
			s.Fatalf("callback %d is for message %d, error %v", i, n, a.errs[i])
		}
		if i > 0 && !less(a.ids[i-1], a.ids[i]) {
			s.Fatalf("message %d is at %v, after %v", n, a.ids[i], a.ids[i-1])
		}
	}
	if len(a.twice) > 0 || len(a.order) != to-from+1 {
		s.Fatalf("%d callbacks, twice: %v", len(a.order), a.twice)
	}
}

func less(a, b broker.MessageID) bool {
	if a.Ledger != b.Ledger {
		return a.Ledger < b.Ledger
	}
	if a.Entry != b.Entry {
		return a.Entry < b.Entry
	}
	return a.Batch < b.Batch
}

// send sends messages from..to, the first one as the probe when told.
func (s *scene) send(p broker.Producer, a *acks, from, to int, probe bool) {
	s.Helper()
	a.mu.Lock()
	before := len(a.order)
	a.mu.Unlock()
	for n := from; n <= to; n++ {
		p.Send(s.ctx, s.message(n), a.done(n))
		if probe && n == from {
			a.wait(s, before+1)
		}
	}
}

// fill publishes messages from..to through a producer of its own.
func (s *scene) fill(from, to int) {
	s.Helper()
	p, _ := s.acquire(position.Position{})
	a := newAcks()
	s.send(p, a, from, to, true)
	a.inOrder(s, from, to)
	p.Close()
}

// content reads the partition from the start.
func (s *scene) content() []*broker.Incoming {
	s.Helper()
	return s.read(broker.Start{})
}

func (s *scene) read(from broker.Start) []*broker.Incoming {
	s.Helper()
	r, err := s.client.Read(s.ctx, s.part, from)
	if err != nil {
		s.Fatalf("Read: %v", err)
	}
	defer r.Close()
	var all []*broker.Incoming
	for {
		more, err := r.HasNext(s.ctx)
		if err != nil {
			s.Fatalf("HasNext: %v", err)
		}
		if !more {
			return all
		}
		m, err := r.Next(s.ctx)
		if err != nil {
			s.Fatalf("Next: %v", err)
		}
		all = append(all, m)
	}
}

// holds expects exactly messages from..to, in order.
func (s *scene) holds(all []*broker.Incoming, from, to int) {
	s.Helper()
	if len(all) != to-from+1 {
		s.Fatalf("%d messages, want %d to %d", len(all), from, to)
	}
	for i, m := range all {
		if got, err := m.Stamp(); err != nil || got != stamp(from+i) {
			s.Fatalf("message %d (%s): %v %v, want %v", i, m.ID, got, err, stamp(from+i))
		}
	}
}

// digest is that of messages from..to.
func digest(from, to int) position.Digest {
	var d position.Digest
	for n := from; n <= to; n++ {
		d.Add(stamp(n).Position)
	}
	return d
}
