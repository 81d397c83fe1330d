package tail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// The properties that have fields of their own.
const (
	propertyID   = "id"
	propertyType = "type"
)

// Event is a message, decoded, as -o json prints it.
type Event struct {
	Topic         string            `json:"topic"`
	Partition     int               `json:"partition"`
	Ordinal       uint64            `json:"ordinal"`  // in the partition, from 1
	Position      string            `json:"position"` // as in the message's property: with the ordinal
	ID            string            `json:"id"`
	Type          string            `json:"type"`
	Key           string            `json:"key"`
	OccurredAt    *time.Time        `json:"occurred_at"` // null when the message has none
	Headers       map[string]string `json:"headers"`
	SchemaVersion int64             `json:"schema_version"` // -1: none
	Event         json.RawMessage   `json:"event"`          // null when it cannot be decoded
	Error         string            `json:"error,omitempty"`
}

// Registry is where schemas come from: *schemas.Registry.
type Registry interface {
	Version(ctx context.Context, topic string, version int64) (*schemas.TopicSchema, error)
}

// Decoder decodes messages and remembers the schemas that it met: as many as
// the topics have versions. It is used by one goroutine.
type Decoder struct {
	registry Registry
	known    map[schemaKey]*schemas.TopicSchema
}

type schemaKey struct {
	topic   string
	version int64
}

// NewDecoder returns a Decoder.
func NewDecoder(r Registry) *Decoder {
	return &Decoder{registry: r, known: map[schemaKey]*schemas.TopicSchema{}}
}

// Decode never fails: what is wrong with a message is in Event.Error.
func (d *Decoder) Decode(ctx context.Context, m *broker.Incoming) Event {
	e := Event{
		Topic: m.Partition.Topic, Partition: m.Partition.Index, Key: m.Key,
		ID: m.Properties[propertyID], Type: m.Properties[propertyType],
		Headers: map[string]string{}, SchemaVersion: m.SchemaVersion,
	}
	if !m.EventTime.IsZero() && m.EventTime.UnixMilli() != 0 {
		at := m.EventTime.UTC()
		e.OccurredAt = &at
	}
	for name, value := range m.Properties {
		if name != propertyID && name != propertyType && name != position.Property {
			e.Headers[name] = value
		}
	}
	stamp, err := m.Stamp()
	if err != nil {
		e.Error = "not an event of Runnel's: " + err.Error()
		return e
	}
	e.Position, e.Ordinal = stamp.String(), stamp.Ordinal
	if e.Event, err = d.Body(ctx, m.Partition.Topic, m.SchemaVersion, m.Payload); err != nil {
		e.Event, e.Error = nil, err.Error()
	}
	return e
}

// Body decodes a message's payload, written with a version of its topic's schema.
func (d *Decoder) Body(ctx context.Context, topic string, version int64, payload []byte) (json.RawMessage, error) {
	if version < 0 {
		return nil, errors.New("the message has no schema")
	}
	key := schemaKey{topic, version}
	schema := d.known[key]
	if schema == nil {
		var err error
		if schema, err = d.registry.Version(ctx, key.topic, key.version); err != nil {
			return nil, fmt.Errorf("schema version %d: %w", key.version, err)
		}
		d.known[key] = schema
	}
	event, body, err := schema.Split(payload)
	if err != nil {
		return nil, err
	}
	return schemas.AppendAvroToJSON(nil, event.Schema, body)
}

// WriteJSON writes e as one line.
func WriteJSON(w io.Writer, e Event) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(e)
}
