package consumers

import (
	"context"
	"sync"
	"time"

	"github.com/runnel-cdc/runnel/schemas"
)

// registry is where the schemas of topics are fetched.
type registry interface {
	Version(ctx context.Context, topic string, version int64) (*schemas.TopicSchema, error)
}

// codecLimit bounds each of a codec's caches; a full one is emptied.
const codecLimit = 512

// fetchLimit bounds one request to the registry.
const fetchLimit = 30 * time.Second

// codec reads payloads: it keeps the schemas that messages were written with,
// and the plans that resolve them to the readers' types. It is safe for
// concurrent use.
type codec struct {
	registry registry

	mu      sync.Mutex
	writers map[topicVersion]*schemas.TopicSchema
	plans   map[planKey]*schemas.Resolver
}

type topicVersion struct {
	topic   string
	version int64
}

type planKey struct{ writer, reader schemas.Fingerprint }

func newCodec(r registry) *codec {
	return &codec{
		registry: r,
		writers:  make(map[topicVersion]*schemas.TopicSchema),
		plans:    make(map[planKey]*schemas.Resolver),
	}
}

// prepare fetches the schema that m was written with, so that Decode needs no
// network. Its error is an outage, not the message's fault. A message without
// a schema is left to Decode to refuse.
func (c *codec) prepare(ctx context.Context, m *Message) error {
	if m.schema < 0 {
		return nil
	}
	key := topicVersion{m.Topic, m.schema}
	c.mu.Lock()
	writer := c.writers[key]
	c.mu.Unlock()
	if writer == nil {
		ctx, cancel := context.WithTimeout(ctx, fetchLimit)
		defer cancel()
		var err error
		if writer, err = c.registry.Version(ctx, m.Topic, m.schema); err != nil {
			return ErrSchemaUnavailable.Wrap(err, "version %d of %s", m.schema, m.Topic)
		}
		c.mu.Lock()
		if len(c.writers) >= codecLimit {
			clear(c.writers)
		}
		c.writers[key] = writer
		c.mu.Unlock()
	}
	m.writer = writer
	if m.AggregateType == "" {
		if event, _, err := writer.Split(m.payload); err == nil {
			m.AggregateType = event.AggregateType
		}
	}
	return nil
}

// plan returns how to turn the writer's bytes into the reader's.
func (c *codec) plan(writer, reader *schemas.EventType) (*schemas.Resolver, error) {
	key := planKey{writer.Fingerprint, reader.Fingerprint}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.plans[key]; r != nil {
		return r, nil
	}
	r, err := schemas.NewResolver(writer.Schema, reader.Schema)
	if err != nil {
		return nil, err
	}
	if len(c.plans) >= codecLimit {
		clear(c.plans)
	}
	c.plans[key] = r
	return r, nil
}

// Decode reads the payload into a generated event type, given by pointer. The
// writer's schema is resolved to that type's: fields the writer did not have
// take their defaults, fields the type does not have are left out, aliases and
// promotions apply. Errors match ErrUndecodable; into may be half filled then.
func (m Message) Decode(into any) error {
	fail := func(err error, why string, args ...any) error {
		return ErrUndecodable.Wrap(err, why, args...).At("%s-partition-%d, position %s, event %s", m.Topic, m.Partition, m.Position, m.ID)
	}
	target, ok := into.(interface {
		schemas.Payload
		schemas.Decoder
	})
	if !ok {
		return fail(nil, "%T is not a pointer to a generated event type", into)
	}
	if m.writer == nil {
		return fail(nil, "the message carries no schema, or comes from the database: handlers, and `runnel dlq show`, decode parked events")
	}
	writer, data, err := m.writer.Split(m.payload)
	if err != nil {
		return fail(err, "the payload does not fit the topic's schema version %d", m.schema)
	}
	if writer.Name != m.Type {
		return fail(nil, "the message says it is %.100q and holds %s", m.Type, writer.Name)
	}
	reader := target.EventType()
	if writer.Fingerprint != reader.Fingerprint {
		plan, err := m.codec.plan(writer, reader)
		if err != nil {
			return fail(err, "%s as written can't be read as %T", writer.Name, into)
		}
		if data, err = plan.Append(nil, data); err != nil {
			return fail(err, "%s as written can't be read as %T", writer.Name, into)
		}
	}
	if err := target.DecodeAvro(data); err != nil {
		return fail(err, "the payload can't be read as %T", into)
	}
	return nil
}
