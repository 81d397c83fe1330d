package broker_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/brokertest"
	"github.com/runnel-cdc/runnel/internal/position"
)

// BenchmarkSend publishes messages of 250 bytes with the three properties that
// every event has, and waits for the last acknowledgement.
func BenchmarkSend(b *testing.B) {
	p := brokertest.Dial(b)
	topic := brokertest.Topic(b, p, brokertest.Namespace(b, p), "bench", 1)
	s := brokertest.RegisterSchema(b, p, topic, "Event", `{"type":"record","name":"Event","fields":[{"name":"a","type":"string"}]}`)
	q, _, err := p.Acquire(b.Context(), broker.AcquireRequest{Partition: broker.Partition{Topic: topic}, Producer: "bench", Schema: s}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	payload := make([]byte, 250)
	now := time.Now()
	acked := make(chan error, 1)
	send := func(n int, done func(broker.MessageID, error)) {
		q.Send(b.Context(), &broker.Outgoing{
			Key: strconv.Itoa(n % 1000), Payload: payload, Schema: s, EventTime: now,
			Properties: map[string]string{position.Property: nth(uint64(n)).String(), "id": "01890a5d-ac96-774b-bcce-b302099a8057", "type": "OrderPlaced"},
		}, done)
	}
	send(1, func(_ broker.MessageID, err error) { acked <- err })
	if err := <-acked; err != nil {
		b.Fatal(err)
	}
	var first error
	none := func(_ broker.MessageID, err error) {
		if err != nil && first == nil {
			first = err
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for n := range b.N - 1 {
		send(n+2, none)
	}
	send(b.N+1, func(_ broker.MessageID, err error) { acked <- err })
	if err := <-acked; err != nil {
		b.Fatal(err, first)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkAcquire takes a partition of a few thousand messages over, with
// nothing to read back.
func BenchmarkAcquire(b *testing.B) {
	p := brokertest.Dial(b)
	topic := brokertest.Topic(b, p, brokertest.Namespace(b, p), "bench", 1)
	s := brokertest.RegisterSchema(b, p, topic, "Event", `{"type":"record","name":"Event","fields":[{"name":"a","type":"string"}]}`)
	if err := publish(b.Context(), p, publishRequest{Topic: topic, Schema: *s, Until: 5000}, func(uint64) {}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		q, _, err := p.Acquire(b.Context(), broker.AcquireRequest{Partition: broker.Partition{Topic: topic}, Producer: "runnel-kill-0", Schema: s, Replayed: nth(6000).Position}, nil)
		if err != nil {
			b.Fatal(err)
		}
		q.Close()
	}
}
