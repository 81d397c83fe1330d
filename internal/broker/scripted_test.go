package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar"
)

// scripted stands for the client's producer: it keeps what it was given, and
// acknowledges as the test says.
type scripted struct {
	pulsar.Producer
	mu     sync.Mutex
	sent   []*pulsar.ProducerMessage
	ack    func(pulsar.MessageID, *pulsar.ProducerMessage, error)
	closed bool
	panics bool

	total, flushed, flushCalls int
}

func (c *scripted) held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total - c.flushed
}

func (c *scripted) flushes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flushCalls
}

func (c *scripted) SendAsync(_ context.Context, m *pulsar.ProducerMessage, ack func(pulsar.MessageID, *pulsar.ProducerMessage, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.panics {
		panic("send on closed channel")
	}
	c.sent, c.ack = append(c.sent, m), ack
	c.total++
}

func (c *scripted) FlushWithCtx(ctx context.Context) error {
	if ctx.Done() != nil {
		return errors.New("the first question must not end the call")
	}
	<-ctx.Done()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flushed = c.total
	c.flushCalls++
	return ctx.Err()
}

func (c *scripted) Close() { c.closed = true }

// acknowledge the oldest message.
func (c *scripted) acknowledge(ledger, entry int64, err error) {
	c.mu.Lock()
	m, ack := c.sent[0], c.ack
	c.sent = c.sent[1:]
	c.mu.Unlock()
	if err != nil {
		ack(nil, m, err)
		return
	}
	ack(pulsar.NewMessageID(ledger, entry, 0, 0), m, nil)
}

func (c *scripted) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sent)
}

func scriptedProducer(t testing.TB, maxPending int) (*producer, *scripted) {
	cfg := Config{MaxPending: maxPending, MaxPendingBytes: 1000}.withDefaults()
	p := &Pulsar{cfg: cfg, producers: make(map[*producer]struct{})}
	q := newProducer(p, Partition{Topic: "persistent://a/b/c"}, "me", newLimits(1<<20, 2))
	q.verify = func(context.Context, entryID) error { return nil }
	c := &scripted{}
	if err := q.start(c); err != nil {
		t.Fatal(err)
	}
	return q, c
}

// outcome collects callbacks.
type outcome struct {
	mu   sync.Mutex
	errs map[int]error
	list []int
}

func (o *outcome) done(n int) func(MessageID, error) {
	return func(_ MessageID, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if _, twice := o.errs[n]; twice {
			panic(fmt.Sprintf("the callback of message %d ran twice", n))
		}
		if o.errs == nil {
			o.errs = make(map[int]error)
		}
		o.errs[n], o.list = err, append(o.list, n)
	}
}

func msg(n int) *Outgoing { return &Outgoing{Key: "k", Payload: make([]byte, n)} }
