package consumertest

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/memory"
)

// client is the projection's connection to the broker in memory. It gives messages
// the clock's time and counts what is acknowledged.
type client struct {
	*memory.Conn
	h *Harness
}

func (c *client) Subscribe(ctx context.Context, of broker.Partition, name string) (broker.Consumer, error) {
	inner, err := c.Conn.Subscribe(ctx, of, name)
	return &consumer{inner, c.h, of}, err
}

type consumer struct {
	broker.Consumer
	h  *Harness
	of broker.Partition
}

func (c *consumer) Receive(ctx context.Context) (*broker.Incoming, error) {
	m, err := c.Consumer.Receive(ctx)
	return c.h.dated(m), err
}

func (c *consumer) Ack(id broker.MessageID) error {
	if c.h.diesBeforeAck(c.of, id) {
		c.h.kill()
		return context.Canceled
	}
	c.h.acknowledged(c.of, id)
	return c.Consumer.Ack(id)
}

func (c *client) Read(ctx context.Context, of broker.Partition, from broker.Start) (broker.Reader, error) {
	inner, err := c.Conn.Read(ctx, of, from)
	return &reader{inner, c.h}, err
}

type reader struct {
	broker.Reader
	h *Harness
}

func (r *reader) Next(ctx context.Context) (*broker.Incoming, error) {
	m, err := r.Reader.Next(ctx)
	return r.h.dated(m), err
}

// dated gives a message the time of the clock when it was published. Every message
// is an entry of its own, so that entries count a partition's messages.
func (h *Harness) dated(m *broker.Incoming) *broker.Incoming {
	if m != nil {
		m.PublishTime = h.topics[m.Partition.Topic].times[m.Partition.Index][m.ID.Entry]
	}
	return m
}
