package consumers

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/consumerhook"
	"github.com/runnel-cdc/runnel/schemas"
)

// What package consumertest may do that others may not.
func init() {
	consumerhook.Install = func(config any, h *consumerhook.Hooks) {
		c := config.(*Config)
		c.Database = new(pgxpool.Pool) // what New asks for; h.Database is used
		c.Broker = BrokerConfig{hooks: h, connect: func(context.Context, BrokerConfig) (broker.Client, registry, error) {
			client, r := h.Connect()
			return client, r, nil
		}}
	}
	consumerhook.Installed = func(projection any, h *consumerhook.Hooks) bool {
		return projection.(*Projection).cfg.Broker.hooks == h
	}
	consumerhook.Describe = func(projection any) (consumerhook.Projection, error) {
		p := projection.(*Projection)
		p.mu.Lock()
		defer p.mu.Unlock()
		topics, err := p.topics()
		return consumerhook.Projection{Name: p.cfg.Name, Schema: p.schema(live), Topics: topics, Version: p.cfg.Version}, err
	}
	consumerhook.Complete = func(ctx context.Context, projection any, registry *schemas.Registry, message any) error {
		m := message.(*Message)
		m.codec = newCodec(registry)
		if h := projection.(*Projection).handlers[m.Type]; h != nil {
			m.AggregateType = h.event.AggregateType
		}
		return m.codec.prepare(ctx, m)
	}
	consumerhook.Retry = func(ctx context.Context, db, filter any, projection string, at time.Time) (int, error) {
		return retryParked(ctx, db.(Beginner), projection, filter.(ParkedFilter), &at)
	}
	consumerhook.Discard = func(ctx context.Context, db, filter any, projection string, at time.Time) (int, error) {
		return discardParked(ctx, db.(Beginner), projection, filter.(ParkedFilter), &at)
	}
}

// hook puts what a test installed in place of the world.
func (p *Projection) hook(h *consumerhook.Hooks) {
	p.db, p.now, p.sleep, p.waiting = h.Database, h.Now, h.Sleep, h.Waiting
	h.Observe(&p.cfg.Observer)
}
