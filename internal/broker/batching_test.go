package broker

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// Nothing stays behind: every message is sent, at the latest BatchDelay after it
// was given, and at once when nothing is in flight.
func TestBatchesLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outcome
		q, s := probed(t, 1000, &o)
		defer q.Close()
		for n := 1; n <= 100; n++ {
			began := time.Now()
			q.Send(t.Context(), msg(1), o.done(n))
			if n == 1 {
				if s.messages() != 1 {
					t.Fatal("an idle producer waits")
				}
			}
			<-time.After(time.Duration(n%4) * 300 * time.Microsecond) // the bubble's clock
			if n%7 == 0 {
				q.Flush()
				synctest.Wait()
				if s.held() > 0 {
					t.Fatal("messages were held back by Flush")
				}
			}
			if s.held() > 0 && time.Since(began) > q.owner.cfg.BatchDelay {
				t.Fatal("a message waits for longer than BatchDelay")
			}
		}
		<-time.After(q.owner.cfg.BatchDelay)
		synctest.Wait()
		if held := s.held(); held > 0 || s.messages() != 100 {
			t.Fatalf("%d messages were not sent", held)
		}
	})
}

// A batch leaves when the one before is acknowledged, and not while that one
// waits for the connection.
func TestBatchesFollowReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outcome
		q, s := probed(t, 1000, &o)
		defer q.Close()
		s.slow = true
		for n := 1; n <= 5; n++ {
			q.Send(t.Context(), msg(1), o.done(n))
		}
		if len(s.counts) != 1 || s.held() != 4 {
			t.Fatalf("batches of %v, and one of %d", s.counts, s.held())
		}
		s.acknowledge(1, 1) // before it is known as written
		q.Flush()
		<-time.After(time.Second)
		synctest.Wait()
		if s.held() != 4 {
			t.Fatal("two batches at the link")
		}
		q.Written()
		if len(s.counts) != 1 || s.counts[0] != 4 {
			t.Fatalf("batches of %v", s.counts)
		}
		q.Written()
		for n := 6; n <= 7; n++ {
			q.Send(t.Context(), msg(1), o.done(n))
		}
		if len(s.counts) != 1 {
			t.Fatal("a batch left beside one in flight, before its time")
		}
		s.acknowledge(1, 2)
		if len(s.counts) != 1 || s.counts[0] != 2 {
			t.Fatalf("batches of %v after the receipt", s.counts)
		}
		q.Written()
		s.acknowledge(1, 3)
		want := MessageID{Ledger: 1, Entry: 3, Batch: 1, BatchSize: 2}
		if last := o.ids[len(o.ids)-1]; last != want || len(o.ids) != 8 {
			t.Fatalf("%d callbacks, the last at %+v, want %+v", len(o.ids), last, want)
		}
	})
}

// A full batch waits for the link, and Send for the batch.
func TestFullBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outcome
		q, s := probed(t, 1000, &o)
		defer q.Close()
		s.slow = true
		q.limits.batch = 1000
		sent := 0
		go func() {
			for n := 1; n <= 50; n++ {
				q.Send(t.Context(), msg(10), o.done(n))
				sent = n
			}
		}()
		<-time.After(time.Minute)
		synctest.Wait()
		if sent >= 50 || s.messages() != 1 || s.held() != sent-1 {
			t.Fatalf("%d sent, batches of %v, %d held", sent, s.counts, s.held())
		}
		s.mu.Lock()
		s.slow = false
		s.mu.Unlock()
		q.Written()
		<-time.After(time.Second)
		synctest.Wait()
		if sent != 50 || s.messages() != 50 {
			t.Fatalf("%d sent, batches of %v", sent, s.counts)
		}
	})
}

func TestFlushReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, _ := scriptedProducer(t, 10)
		for range 5 {
			q.Flush()
			synctest.Wait()
		}
		q.Close()
		q.Flush()
	})
}

// echo acknowledges each batch at once, in order.
type echo struct {
	events wire.Events
	next   uint64
	sent   chan echoed
}

type echoed struct {
	first uint64
}

func (c *echo) SchemaVersion() []byte                                   { return make([]byte, 8) }
func (c *echo) AskSchema(context.Context, *wire.Schema) ([]byte, error) { return make([]byte, 8), nil }
func (c *echo) NewBatch(version []byte) *wire.Batch                     { return wire.NewBatch("me", version) }
func (c *echo) Add(b *wire.Batch, m *wire.Message) uint64 {
	b.Add(c.next, m)
	c.next++
	return c.next - 1
}
func (c *echo) Close(context.Context) error { return nil }
func (c *echo) Send(b *wire.Batch) {
	first := c.next - uint64(b.Count())
	b.Free()
	c.sent <- echoed{first}
}

func (c *echo) run() {
	entry := int64(0)
	for e := range c.sent {
		c.events.Written()
		c.events.Stored(wire.Receipt{Sequence: e.first, Ledger: 1, Entry: entry})
		entry++
	}
}

func echoing(t testing.TB) (*producer, *echo) {
	p := &Pulsar{cfg: Config{}.withDefaults(), producers: make(map[*producer]struct{})}
	q := newProducer(p, Partition{Topic: "persistent://a/b/c"}, "me", newLimits(5<<20, 2))
	q.verify = func(context.Context, entryID) error { return nil }
	c := &echo{events: q, sent: make(chan echoed, 1<<15)}
	if err := q.start(c, nil); err != nil {
		t.Fatal(err)
	}
	go c.run()
	t.Cleanup(func() { q.Close(); close(c.sent) })
	return q, c
}

func event() *Outgoing {
	return &Outgoing{Key: "key", Payload: make([]byte, 250), Schema: &Schema{Name: "E", JSON: "{}"}, EventTime: time.Now(),
		Properties: properties.List{{Name: "position", Value: "000000010000000000000000000000000001"}, {Name: "id", Value: "01890a5d-ac96-774b-bcce-b302099a8057"}, {Name: "type", Value: "OrderPlaced"}}}
}

// In a steady stream a message costs no allocation.
func TestSendAllocatesNothing(t *testing.T) {
	q, _ := echoing(t)
	m := event()
	ctx := t.Context()
	done := func(MessageID, error) {}
	const many = 10_000
	send := func() {
		for range many {
			q.Send(ctx, m, done)
		}
		runtime.Gosched()
	}
	send()
	if n := testing.AllocsPerRun(10, send) / many; n > 0.05 {
		t.Errorf("%.3f allocations for each message", n)
	}
}

// BenchmarkSendOverhead is what a message costs on this side of the connection.
func BenchmarkSendOverhead(b *testing.B) {
	q, _ := echoing(b)
	m := event()
	done := func(MessageID, error) {}
	b.ReportAllocs()
	for b.Loop() {
		q.Send(b.Context(), m, done)
	}
}
