package broker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
)

// scripted stands for the wire's producer: it keeps what it was given, and says
// what the test wants of it.
type scripted struct {
	events wire.Events

	mu             sync.Mutex
	next           uint64   // sequence id
	firsts         []uint64 // of the batches that were sent and not answered
	counts         []int    // of messages in each of them
	all, sizes     []int    // messages, and bytes, of all batches that were sent
	open           map[*wire.Batch]uint64
	batches, asked int
	askErr         error
	closed         bool
}

func (c *scripted) SchemaVersion() []byte { return []byte("version0") }

func (c *scripted) AskSchema(_ context.Context, s *wire.Schema) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return []byte(s.Name), c.askErr
}

func (c *scripted) NewBatch(version []byte) *wire.Batch { return wire.NewBatch("me", version) }

func (c *scripted) Add(b *wire.Batch, m *wire.Message) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.next
	c.next++
	if b.Count() == 0 {
		c.open[b] = n
	}
	b.Add(n, m)
	return n
}

func (c *scripted) Send(b *wire.Batch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.firsts, c.counts, c.sizes = append(c.firsts, c.open[b]), append(c.counts, b.Count()), append(c.sizes, b.SealedSize())
	c.all = append(c.all, b.Count())
	delete(c.open, b)
	c.batches++
	b.Free()
}

func (c *scripted) Close(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

// acknowledge answers the oldest batch.
func (c *scripted) acknowledge(ledger, entry int64) {
	c.mu.Lock()
	first := c.firsts[0]
	c.firsts, c.counts = c.firsts[1:], c.counts[1:]
	c.mu.Unlock()
	c.events.Stored(wire.Receipt{Sequence: first, Ledger: ledger, Entry: entry})
}

// acknowledgeAll answers batches until there are none.
func (c *scripted) acknowledgeAll(entry int64) {
	synctest.Wait()
	for ; c.count() > 0; entry++ {
		c.acknowledge(1, entry)
		synctest.Wait()
	}
}

// refuse answers with an error.
func (c *scripted) refuse(code wire.Code, message string) {
	c.events.Ended(&wire.ServerError{Code: code, Message: message})
}

// count is of batches that are not answered.
func (c *scripted) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.firsts)
}

// messages is of those in them.
func (c *scripted) messages() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.counts {
		n += k
	}
	return n
}

// held is of messages that were not sent.
func (c *scripted) held() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for b := range c.open {
		n += b.Count()
	}
	return n
}

func scriptedProducer(t testing.TB, maxPending int) (*producer, *scripted) {
	cfg := Config{MaxPending: maxPending, MaxPendingBytes: 1000}.withDefaults()
	p := &Pulsar{cfg: cfg, producers: make(map[*producer]struct{})}
	q := newProducer(p, Partition{Topic: "persistent://a/b/c"}, "me", newLimits(1<<20, 2))
	q.verify = func(context.Context, entryID) error { return nil }
	c := &scripted{events: q, open: make(map[*wire.Batch]uint64)}
	if err := q.start(c, nil); err != nil {
		t.Fatal(err)
	}
	return q, c
}

// outcome collects callbacks.
type outcome struct {
	mu   sync.Mutex
	errs map[int]error
	list []int
	ids  []MessageID
}

func (o *outcome) done(n int) func(MessageID, error) {
	return func(id MessageID, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if _, twice := o.errs[n]; twice {
			panic(fmt.Sprintf("the callback of message %d ran twice", n))
		}
		if o.errs == nil {
			o.errs = make(map[int]error)
		}
		o.errs[n], o.list, o.ids = err, append(o.list, n), append(o.ids, id)
	}
}

func msg(n int) *Outgoing { return &Outgoing{Key: "k", Payload: make([]byte, n)} }
