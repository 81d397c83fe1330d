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
