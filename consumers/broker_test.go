package consumers_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/brokertest"
	"github.com/runnel-cdc/runnel/internal/broker/memory"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
	"github.com/runnel-cdc/runnel/schemas"
)

// cluster is Pulsar, or the one in memory.
type cluster interface {
	broker.Client
	broker.Admin
}

// pipeline is the name of the one that sources publish for.
const pipeline = "test"

// source publishes as the daemon does.
type source struct {
	client    cluster
	registry  *schemas.Registry
	namespace string
	topic     string
	codec     *schemas.TopicCodec
	producers []broker.Producer
	stamps    []position.Stamp
	latest    *schemas.TopicSchema
}

func onPulsar(t *testing.T, partitions int) *source {
	t.Helper()
	client := brokertest.Dial(t)
	return newSource(t, client, brokertest.Namespace(t, client), partitions)
}

func inMemory(t *testing.T, partitions int) (*source, *memory.Broker) {
	t.Helper()
	b := memory.New()
	if _, err := b.EnsureNamespace(t.Context(), "public/memory", broker.NamespacePolicy{}); err != nil {
		t.Fatal(err)
	}
	return newSource(t, b, "public/memory", partitions), b
}

func newSource(t *testing.T, client cluster, namespace string, partitions int) *source {
	t.Helper()
	s := &source{client: client, namespace: namespace, topic: "persistent://" + namespace + "/order"}
	if _, err := client.EnsureTopic(t.Context(), s.topic, partitions, nil); err != nil {
		t.Fatal(err)
	}
	s.registry = schemas.NewRegistry(s.client.AdminURL(), s.client.HTTP())
	s.register(t, placedV1)
	for i := range partitions {
		p, _, err := s.client.Acquire(t.Context(), broker.AcquireRequest{
			Partition: broker.Partition{Topic: s.topic, Index: i}, Producer: "runnel-" + pipeline, Schema: s.schema(),
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		s.producers = append(s.producers, p)
		s.stamps = append(s.stamps, position.Stamp{Position: position.Position{Epoch: 1}})
	}
	return s
}

func (s *source) register(t *testing.T, events ...*schemas.EventType) {
	t.Helper()
	made, err := schemas.Compose("order", events, s.latest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.registry.Register(t.Context(), s.topic, made); err != nil {
		t.Fatal(err)
	}
	versions, err := s.registry.Versions(t.Context(), s.topic)
	if err != nil {
		t.Fatal(err)
	}
	s.latest = versions[len(versions)-1]
	if s.codec, err = schemas.NewTopicCodec(versions); err != nil {
		t.Fatal(err)
	}
}

func (s *source) schema() *broker.Schema {
	return &broker.Schema{Name: s.latest.Name, JSON: s.latest.JSON, Version: s.latest.Version}
}

// publish sends events to a partition, the first one of it alone, and waits
// for their acknowledgements.
func (s *source) publish(t *testing.T, partition int, key func(i int) string, events ...schemas.Payload) {
	t.Helper()
	sent := make(chan error, len(events))
	for i, e := range events {
		raw, err := e.AppendAvro(nil)
		if err != nil {
			t.Fatal(err)
		}
		data, under, err := s.codec.AppendAvro(nil, e.EventType().Name, e.EventType().Fingerprint, raw)
		if err != nil {
			t.Fatal(err)
		}
		at := &s.stamps[partition]
		at.LSN, at.Ordinal = at.LSN+8, at.Ordinal+1
		s.producers[partition].Send(t.Context(), &broker.Outgoing{
			Key: key(i), Payload: data, EventTime: time.Now(),
			Properties: properties.List{{Name: "id", Value: uuid.NewString()}, {Name: "type", Value: e.EventType().Name}, {Name: "position", Value: at.String()}},
			Schema:     &broker.Schema{Name: under.Name, JSON: under.JSON, Version: under.Version},
		}, func(_ broker.MessageID, err error) { sent <- err })
		if at.Ordinal == 1 {
			sent <- <-sent
		}
	}
	for range events {
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
}

// fill publishes n orders to each partition, under the newest schema.
func (s *source) fill(t *testing.T, n int, want truth) {
	t.Helper()
	for p := range s.producers {
		key := func(i int) string { return fmt.Sprintf("o%d-%d", p, i%5) }
		var events []schemas.Payload
		for i := range n {
			e := OrderPlaced{N: int64(i), Note: "note", Amount: int64(i)}
			if s.latest.Version == 0 {
				events = append(events, OrderPlacedOld{N: e.N, Note: e.Note})
				e.Amount = 7
			} else {
				events = append(events, e)
			}
			want.add(key(i), e)
		}
		s.publish(t, p, key, events...)
	}
}

// Against a real Pulsar, and the one in memory: two schema versions, two
// instances, one of which goes and comes back, and nothing is lost or doubled.
func TestTwoInstancesOnPulsar(t *testing.T) {
	testTwoInstances(t, onPulsar(t, 2), consumers.BrokerConfig{}) // the environment's
}

func TestTwoInstancesInMemory(t *testing.T) {
	s, b := inMemory(t, 2)
	var cfg consumers.BrokerConfig
	cfg.SetConnect(func() broker.Client { return b.Connect("instance") }, s.registry)
	testTwoInstances(t, s, cfg)
}

func testTwoInstances(t *testing.T, s *source, b consumers.BrokerConfig) {
	w := &world{db: pgtest.New(t), scripted: newScripted(nil)}
	want := make(truth)
	s.fill(t, 20, want)
	cfg := w.config(t)
	cfg.Broker, cfg.Namespace, cfg.BatchSize = b, s.namespace, 8
	one := start(t, cfg, handleFold)
	at := func(n uint64) func() bool {
		return func() bool { p := w.positions(t); return p[0] == n && p[1] == n }
	}
	pgtest.Eventually(t, patience, at(20), "the first instance applies")

	s.register(t, placedV2, shipped)
	two := start(t, cfg, handleFold)
	pgtest.Eventually(t, patience, func() bool {
		st := two.Status()
		return len(st) == 2 && st[0].Connected && st[1].Connected
	}, "the second instance is there")
	s.fill(t, 30, want)
	one.stop(t)
	s.fill(t, 30, want)
	one = start(t, cfg, handleFold)
	s.fill(t, 20, want)
	two.stop(t)
	s.fill(t, 20, want)
	pgtest.Eventually(t, patience, at(120), "all is applied: %v", func() string { return fmt.Sprint(w.positions(t)) })
	one.stop(t)
	w.requireCopy(t, want)
	// A commit that stop interrupts is not reported; the fold proves it anyway.
	if n := w.saw.applied.Load(); n > 240 {
		t.Errorf("%d applied, want 240 at most", n)
	}
}

// Killed between commit and acknowledgement: Pulsar delivers again, and the
// position skips.
func TestRedeliveryOnPulsar(t *testing.T) {
	s := onPulsar(t, 1)
	w := &world{db: pgtest.New(t), scripted: newScripted(nil)}
	want := make(truth)
	s.fill(t, 30, want)
	cfg := w.config(t)
	cfg.Broker = consumers.BrokerConfig{}
	cfg.Broker.DropAcks()
	cfg.Namespace = s.namespace
	for round := range int64(3) {
		r := start(t, cfg, handleFold)
		pgtest.Eventually(t, patience, func() bool {
			return w.saw.applied.Load() == 30 && w.saw.skipped.Load() == 30*round
		}, "30 are applied, and skipped in later rounds")
		r.stop(t)
		w.requireCopy(t, want)
	}
}

// A compressed message that declares a huge length is not taken for one of Runnel's,
// with whatever else is right in it, and can be passed over.
func TestDeclaredLength(t *testing.T) {
	client := brokertest.Dial(t)
	namespace := brokertest.Namespace(t, client)
	topic := brokertest.Topic(t, client, namespace, "order", 1)
	w := &world{db: pgtest.New(t), scripted: newScripted(nil)}
	cfg := w.config(t)
	cfg.Broker, cfg.Namespace = consumers.BrokerConfig{}, namespace
	brokertest.SendRaw(t, topic+"-partition-0", brokertest.Raw{
		Properties: map[string]string{"id": uuid.NewString(), "type": "OrderPlaced",
			position.Property: position.Stamp{Position: position.Position{Epoch: 1, LSN: 8}, Ordinal: 1}.String()},
		Compression: 1, UncompressedSize: 300_000_000, Payload: []byte("\x50hello"), // LZ4: 5 literals
	})
	err := start(t, cfg, handleFold).wait(t)
	requireFault(t, err, consumers.ErrForeignMessage, "declares to hold, 300000000 bytes")

	// Listed as it was named, it is passed over by who subscribes and by who reads.
	cfg.Foreign = []string{fault.Find(err).Where}
	brokertest.SendRaw(t, topic+"-partition-0", brokertest.Raw{
		Properties: map[string]string{"id": uuid.NewString(), "type": "OrderForgotten",
			position.Property: position.Stamp{Position: position.Position{Epoch: 1, LSN: 8}, Ordinal: 1}.String()},
		Payload: []byte("hello"),
	})
	r := start(t, cfg, handleFold)
	pgtest.Eventually(t, patience, func() bool { return w.saw.unknown.Load() == 1 }, "what comes after it is passed")
	r.stop(t)
	p, _ := w.replayer(t, cfg, nil)
	if _, err := p.Replay(t.Context(), consumers.ReplayRange{Type: "OrderPlaced"}, true); err != nil {
		t.Error(err)
	}
}

// A topic that is loaded anew, again and again, breaks every connection to it.
func TestTopicIsUnloaded(t *testing.T) {
	s, b := inMemory(t, 2)
	w := &world{db: pgtest.New(t), scripted: newScripted(nil)}
	want := make(truth)
	s.fill(t, 300, want)
	cfg := w.config(t)
	cfg.Broker.SetConnect(func() broker.Client { return b.Connect("instance") }, s.registry)
	cfg.Namespace, cfg.BatchSize = s.namespace, 8
	var calls atomic.Int64
	r := start(t, cfg, func(p *consumers.Projection) {
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
			if calls.Add(1)%50 == 0 {
				if err := b.Unload(s.topic); err != nil {
					return err
				}
			}
			return fold(ctx, tx, e)
		})
		p.SetSleep(w.pauses.sleep)
	})
	pgtest.Eventually(t, patience, func() bool { p := w.positions(t); return p[0] == 300 && p[1] == 300 }, "all is applied")
	r.stop(t)
	w.requireCopy(t, want)
}
