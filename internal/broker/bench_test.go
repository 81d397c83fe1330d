package broker_test

import (
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/brokertest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// sending is a producer of messages of 250 bytes with the three properties that
// every event has.
type sending struct {
	broker.Producer
	b       *testing.B
	schema  *broker.Schema
	payload []byte
	at      time.Time
}

// senders acquires the partitions of a new topic, and sends each one's probe.
func senders(b *testing.B, partitions int) []sending {
	p := brokertest.Dial(b)
	topic := brokertest.Topic(b, p, brokertest.Namespace(b, p), "bench", partitions)
	s := brokertest.RegisterSchema(b, p, topic, "Event", `{"type":"record","name":"Event","fields":[{"name":"a","type":"string"}]}`)
	all := make([]sending, partitions)
	for i := range all {
		q, _, err := p.Acquire(b.Context(), broker.AcquireRequest{Partition: broker.Partition{Topic: topic, Index: i}, Producer: "bench", Schema: s}, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(q.Close)
		all[i] = sending{q, b, s, make([]byte, 250), time.Now()}
		all[i].wait(1)
	}
	return all
}

func (s *sending) send(n int, done func(broker.MessageID, error)) {
	s.Send(s.b.Context(), &broker.Outgoing{
		Key: strconv.Itoa(n % 1000), Payload: s.payload, Schema: s.schema, EventTime: s.at,
		Properties: properties.List{{Name: position.Property, Value: nth(uint64(n)).String()}, {Name: "id", Value: "01890a5d-ac96-774b-bcce-b302099a8057"}, {Name: "type", Value: "OrderPlaced"}},
	}, done)
}

// wait sends one and waits until it is acknowledged.
func (s *sending) wait(n int) {
	acked := make(chan error, 1)
	s.send(n, func(_ broker.MessageID, err error) { acked <- err })
	if err := <-acked; err != nil {
		s.b.Fatal(err)
	}
}

// publishAll sends b.N messages, to the partitions in turn, and waits for all.
// cpu-ns/op is what this process has worked for each.
func publishAll(b *testing.B, all []sending) {
	var (
		failed  atomic.Int64
		pending sync.WaitGroup
	)
	done := func(_ broker.MessageID, err error) {
		if err != nil {
			failed.Add(1)
		}
		pending.Done()
	}
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	pending.Add(b.N)
	for n := range b.N {
		all[n%len(all)].send(n+2, done)
	}
	pending.Wait()
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	if n := failed.Load(); n > 0 {
		b.Fatalf("%d messages failed: %v", n, all[0].Err())
	}
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSend publishes to one partition as fast as it goes.
func BenchmarkSend(b *testing.B) { publishAll(b, senders(b, 1)) }

// BenchmarkSendMany publishes to many partitions in turn: batches fill slowly.
func BenchmarkSendMany(b *testing.B) { publishAll(b, senders(b, 64)) }

// BenchmarkSendAlone publishes one message at a time: what waits for no company.
func BenchmarkSendAlone(b *testing.B) {
	s := senders(b, 1)[0]
	n := 1
	for b.Loop() {
		n++
		s.wait(n)
	}
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
