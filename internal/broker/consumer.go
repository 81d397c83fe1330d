package broker

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/apache/pulsar-client-go/pulsar"
)

// consumer implements Consumer.
type consumer struct {
	owner     *Pulsar
	partition Partition
	client    pulsar.Consumer

	active atomic.Bool

	mu    sync.Mutex
	acked MessageID // the last entry acknowledged
	cause error
}

// Subscribe implements Client.
func (p *Pulsar) Subscribe(ctx context.Context, q Partition, subscription string) (Consumer, error) {
	if err := p.checkPartition(ctx, q); err != nil {
		return nil, err
	}
	c := &consumer{owner: p, partition: q, acked: none()}
	options := pulsar.ConsumerOptions{
		Topic:                       q.String(),
		SubscriptionName:            subscription,
		Type:                        pulsar.Failover,
		SubscriptionInitialPosition: pulsar.SubscriptionPositionEarliest,
		ReceiverQueueSize:           p.cfg.ReceiveQueue,
		Name:                        p.cfg.Name,
		Properties:                  p.cfg.Properties,
		EventListener:               c,
		Interceptors:                pulsar.ConsumerInterceptors{closeListener{c}},
	}
	_, err := within(ctx, p, func() (_ *consumer, err error) {
		if c.client, err = p.client.Subscribe(options); err != nil {
			return nil, err
		}
		return c, p.track(c)
	}, (*consumer).Close)
	if err != nil {
		return nil, clientFault(err, "%s: subscribing as %s", q, subscription)
	}
	return c, nil
}

// Receive implements Consumer.
func (c *consumer) Receive(ctx context.Context) (*Incoming, error) {
	m, err := c.client.Receive(ctx)
	if err == nil {
		return toIncoming(c.partition, m), nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		err = c.cause
	}
	return nil, clientFault(err, "%s: receiving", c.partition)
}

// Ack implements Consumer. The broker knows entries only: a message within a
// batch acknowledges up to the entry before, its last one the entry.
//
// The client would do worse with an id that does not come from it: it would
// acknowledge the whole batch at its first message.
func (c *consumer) Ack(id MessageID) error {
	if id.Batch >= 0 && id.Batch+1 < id.BatchSize {
		id.Entry--
	}
	id.Batch, id.BatchSize = -1, 0
	c.mu.Lock()
	defer c.mu.Unlock()
	if compareIDs(id, c.acked) <= 0 {
		return nil
	}
	err := c.client.AckIDCumulative(pulsar.NewMessageID(id.Ledger, id.Entry, -1, 0))
	if err != nil {
		return clientFault(err, "%s: acknowledging %s", c.partition, id)
	}
	c.acked = id
	return nil
}

// Active implements Consumer.
func (c *consumer) Active() bool { return c.active.Load() }

var _ pulsar.ConsumerEventListener = (*consumer)(nil)

// BecameActive implements the client's listener.
func (c *consumer) BecameActive(pulsar.Consumer, string, int32) { c.active.Store(true) }

// BecameInactive implements the client's listener.
func (c *consumer) BecameInactive(pulsar.Consumer, string, int32) { c.active.Store(false) }

// Close implements Consumer.
func (c *consumer) Close() {
	c.owner.untrack(c)
	c.client.Close()
}

// closeListener learns why the client gave a consumer up.
type closeListener struct{ c *consumer }

var _ pulsar.ConsumerCloseInterceptor = closeListener{}

func (closeListener) BeforeConsume(pulsar.ConsumerMessage)                   {}
func (closeListener) OnAcknowledge(pulsar.Consumer, pulsar.MessageID)        {}
func (closeListener) OnNegativeAcksSend(pulsar.Consumer, []pulsar.MessageID) {}
func (l closeListener) OnConsumerClose(_ pulsar.Consumer, err error) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	l.c.cause = err
}
