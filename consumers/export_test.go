package consumers

import (
	"context"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// SetBroker makes a projection use another broker than Pulsar.
func (b *BrokerConfig) SetBroker(client broker.Client, r registry) {
	b.connect = func(context.Context, BrokerConfig) (broker.Client, registry, error) { return client, r, nil }
}

// SetSleep makes a projection pause by f.
func (p *Projection) SetSleep(f func(context.Context, time.Duration) error) { p.sleep = f }

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
