package consumers

import (
	"context"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// SetBroker makes a projection use another broker than Pulsar.
func (b *BrokerConfig) SetBroker(client broker.Client, r registry) {
	b.SetConnect(func() broker.Client { return client }, r)
}

// SetConnect is SetBroker with a connection for each Run.
func (b *BrokerConfig) SetConnect(open func() broker.Client, r registry) {
	b.connect = func(context.Context, BrokerConfig) (broker.Client, registry, error) { return open(), r, nil }
}

// Broker returns what SetBroker has set.
func (b *BrokerConfig) Broker() broker.Client {
	client, _, _ := b.connect(context.Background(), *b)
	return client
}

// SetSleep makes a projection pause by f.
func (p *Projection) SetSleep(f func(context.Context, time.Duration) error) { p.sleep = f }

// SetSilence makes a projection look after a silent subscription after d.
func (p *Projection) SetSilence(d time.Duration) { p.silence = d }

// Sleep is what a projection pauses by.
func Sleep(ctx context.Context, d time.Duration) error { return sleep(ctx, d) }

// ReadAndDecode reads a message as a projection does.
func ReadAndDecode(ctx context.Context, r registry, in *broker.Incoming, into any) error {
	c := newCodec(r)
	m, _, err := c.read(in)
	if err == nil {
		err = c.prepare(ctx, &m)
	}
	if err == nil {
		err = m.Decode(into)
	}
	return err
}

// SubscribeWith is Subscribe with pauses of the test's own.
func SubscribeWith(ctx context.Context, b BrokerConfig, name string, topics []string, h func(context.Context, Message) error, sleep sleeper, options ...SubscribeOption) error {
	return subscribe(ctx, b, name, topics, h, sleep, options...)
}

// DropAcks connects to Pulsar and keeps all acknowledgements to itself.
func (b *BrokerConfig) DropAcks() {
	b.connect = func(ctx context.Context, b BrokerConfig) (broker.Client, registry, error) {
		client, r, err := connectPulsar(ctx, b)
		return ackless{client}, r, err
	}
}

type ackless struct{ broker.Client }

func (a ackless) Subscribe(ctx context.Context, of broker.Partition, name string) (broker.Consumer, error) {
	c, err := a.Client.Subscribe(ctx, of, name)
	return acklessConsumer{c}, err
}

type acklessConsumer struct{ broker.Consumer }

func (acklessConsumer) Ack(broker.MessageID) error { return nil }
