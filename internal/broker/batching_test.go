package broker

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// An idle producer sends at once; under load a batch gathers what comes until the one before
// is acknowledged, and nothing is sent behind that one.
func TestBatchesFollowReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outcome
		q, s := probed(t, 1000, &o)
		defer q.Close()
		for n := 1; n <= 5; n++ {
			q.Send(t.Context(), msg(1), o.done(n))
			<-time.After(time.Second)
			if len(s.counts) != 1 || s.counts[0] != 1 || s.held() != n-1 {
				t.Fatalf("after %d: batches of %v, and one of %d", n, s.counts, s.held())
			}
		}
		s.acknowledge(1, 1)
		if len(s.counts) != 1 || s.counts[0] != 4 {
			t.Fatalf("batches of %v after the receipt", s.counts)
		}
		q.Send(t.Context(), msg(1), o.done(6))
		s.acknowledge(1, 2)
		if len(s.counts) != 1 || s.counts[0] != 1 {
			t.Fatalf("batches of %v after the second receipt", s.counts)
		}
		s.acknowledge(1, 3)
		q.Send(t.Context(), msg(1), o.done(7))
		if len(s.counts) != 1 || s.held() != 0 {
			t.Fatal("an idle producer waits")
		}
		s.acknowledge(1, 4)
		want := MessageID{Ledger: 1, Entry: 2, Batch: 3, BatchSize: 4}
		if len(o.ids) != 8 || o.ids[5] != want {
			t.Fatalf("%d callbacks, the fifth at %+v, want %+v", len(o.ids), o.ids[5], want)
		}
	})
}

// What is sent in one breath leaves in one batch, unless it fills more, or has to wait for room.
func TestMoreFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outcome
		q, s := probed(t, 10, &o)
		defer q.Close()
		send := func(from, to int) {
			for n := from; n <= to; n++ {
				m := msg(10)
				m.More = n < to
				q.Send(t.Context(), m, o.done(n))
			}
		}
		send(1, 5)
		if !slices.Equal(s.counts, []int{5}) {
			t.Fatalf("batches of %v", s.counts)
		}
		s.acknowledge(1, 1)
		go send(6, 20) // there is room for ten
		synctest.Wait()
		if !slices.Equal(s.counts, []int{10}) {
			t.Fatalf("batches of %v while a message waits for room", s.counts)
		}
		s.acknowledge(1, 2)
		synctest.Wait()
		if !slices.Equal(s.counts, []int{5}) {
			t.Fatalf("batches of %v then", s.counts)
		}
		s.acknowledge(1, 3)
		q.limits.batch = 200
		send(21, 30)
		if len(s.counts) != 1 || s.counts[0] < 2 || s.held() == 0 {
			t.Fatalf("batches of %v, where one is full, and %d messages wait", s.counts, s.held())
		}
	})
}

// Batches that are full wait in line: Send does not, and one is on its way at a time.
func TestFullBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outcome
		q, s := probed(t, 1000, &o)
		defer q.Close()
		q.limits.batch = 1000
		for n := 1; n <= 50; n++ {
			q.Send(t.Context(), msg(10), o.done(n))
		}
		if s.messages() != 1 || s.held() != 49 || len(s.open) < 2 {
			t.Fatalf("batches of %v, %d held in %d", s.counts, s.held(), len(s.open))
		}
		for entry := int64(1); s.count() > 0; entry++ {
			if len(s.counts) != 1 {
				t.Fatalf("batches of %v on their way", s.counts)
			}
			s.acknowledge(1, entry)
			synctest.Wait()
		}
		if len(o.ids) != 51 {
			t.Fatalf("%d acknowledged", len(o.ids))
		}
	})
}

// Where writers with two versions of a schema take turns, batches leave beside each other,
// none smaller than one before it.
func TestBatchesOfTwoSchemas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outcome
		q, s := probed(t, 1000, &o)
		defer q.Close()
		q.owner.cfg.MaxPendingBytes = 1 << 20
		one, two := &Schema{Name: "aaaaaaaa"}, &Schema{Name: "bbbbbbbb"}
		largest := 0
		for n := 1; n <= 2*maxBeside; n++ {
			m := msg(1000 - 10*n%700)
			if m.Schema = one; n%2 == 0 {
				m.Schema = two
			}
			q.Send(t.Context(), m, o.done(n))
		}
		if len(s.counts) != maxBeside || s.held() != maxBeside {
			t.Fatalf("%d batches are on their way, want %d, and %d messages wait", len(s.counts), maxBeside, s.held())
		}
		for i, size := range s.sizes[1:] {
			if largest = max(largest, size); size < largest {
				t.Fatalf("batch %d has %d bytes, one before it %d", i, size, largest)
			}
		}
		if largest > 1200 {
			t.Fatalf("batches of 1000 bytes at most were padded to %d", largest)
		}
		// One that is much larger is waited for.
		m := msg(10_000)
		m.Schema = one
		s.acknowledgeAll(1)
		q.Send(t.Context(), m, o.done(1001))
		for n, schema := range []*Schema{two, one} {
			m := msg(1)
			m.Schema = schema
			q.Send(t.Context(), m, o.done(1002+n))
		}
		if len(s.counts) != 1 || s.held() != 2 {
			t.Fatalf("batches of %v beside a large one, and %d messages wait", s.counts, s.held())
		}
		s.acknowledgeAll(1000)
		if len(o.ids) != 1+2*maxBeside+3 {
			t.Fatalf("%d acknowledged", len(o.ids))
		}
	})
}

// Whatever is sent, and however the receipts come: of what is on its way beside each other no
// batch is smaller than one before, and all leaves in order.
func TestBatchesOfDrawnHistories(test *testing.T) {
	versions := []*Schema{{Name: "aaaaaaaa"}, {Name: "bbbbbbbb"}}
	rapid.Check(test, func(t *rapid.T) {
		var o outcome
		q, s := scriptedProducer(test, 1000)
		defer q.Close()
		q.owner.cfg.MaxPendingBytes, q.limits.batch = 1<<20, rapid.SampledFrom([]int{500, 5_000, 1 << 20}).Draw(t, "batch")
		verified := make(chan struct{})
		q.verify = func(context.Context, entryID) error { close(verified); return nil }
		q.Send(context.Background(), msg(1), o.done(0))
		s.acknowledge(1, 0)
		<-verified
		n, entry, more := 0, int64(0), false
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if s.count() > 0 && rapid.IntRange(0, 2).Draw(t, "step") == 0 {
				entry++
				s.acknowledge(1, entry)
			} else {
				m := msg(rapid.SampledFrom([]int{1, 100, 400, 6_000}).Draw(t, "bytes"))
				m.Schema = rapid.SampledFrom(versions).Draw(t, "version")
				m.More = rapid.Bool().Draw(t, "more follow")
				n, more = n+1, m.More
				q.Send(context.Background(), m, o.done(n))
			}
			sizes := s.sizes[len(s.sizes)-s.count():]
			for i := 1; i < len(sizes); i++ {
				if sizes[i] < sizes[i-1] {
					t.Fatalf("on their way: %d bytes behind %d, from %d", sizes[i], sizes[i-1], s.firsts)
				}
			}
			if !slices.IsSorted(s.firsts) || s.count() == 0 && s.held() > 0 && !more || s.count() > maxBeside {
				t.Fatalf("%v are on their way, %d wait", s.firsts, s.held())
			}
		}
		n++
		q.Send(context.Background(), msg(1), o.done(n))
		for s.count() > 0 {
			entry++
			s.acknowledge(1, entry)
		}
		if len(o.ids) != n+1 || s.held() != 0 || q.flight.count != 0 || q.flight.waiting != nil {
			t.Fatalf("%d of %d acknowledged, %d wait", len(o.ids), n+1, s.held())
		}
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
