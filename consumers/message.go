package consumers

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// Position orders events: (epoch, commit LSN, index within the transaction).
type Position = position.Position

// ParsePosition reads a position as errors, logs and the property of that name write
// it; the property's ordinal is left out.
func ParsePosition(text string) (Position, error) {
	if stamp, err := position.ParseStamp(text); err == nil {
		return stamp.Position, nil
	}
	return position.Parse(text)
}

// Message is an event as it was received. Its payload is decoded by Decode, or
// by Handle. A Message may be kept and used by several goroutines.
type Message struct {
	ID            uuid.UUID // of the event; a second publication of the same event keeps it
	Type          string    // event type
	AggregateType string    // of the aggregate; empty for types that no handler takes
	AggregateID   string    // the message's key; order holds among equal ones
	Topic         string    // full name
	Partition     int
	OccurredAt    time.Time // when the writer says it happened
	PublishedAt   time.Time // when the broker took it
	Position      Position
	Ordinal       uint64            // counts the partition's messages, from 1
	Headers       map[string]string // properties but for id, type and position; not to be changed
	CatchingUp    bool              // in a rebuild, or by Replay: the live copy has had it, so hold side effects back

	payload []byte
	schema  int64  // version of the topic's schema, -1 for none
	codec   *codec // how to read payload
	writer  *schemas.TopicSchema
}

// Event is a message whose payload was decoded to the handler's type. Fields
// that the writer did not know yet hold the defaults of T's schema.
type Event[T schemas.Payload] struct {
	Message
	Payload T
}

// Names of the message properties that are not headers.
const (
	propertyID   = "id"
	propertyType = "type"
)

// maxPayload is more than any broker takes for one message, in bytes. A longer
// payload is not looked at. Before that, pulsar-client-go 0.21 has set aside as much
// as the sender of a compressed one declared (lz4.go, Decompress: up to 4 GiB), and
// offers no bound for it.
const maxPayload = 256 << 20

// read makes a Message of what the broker delivered. An error says that no
// publisher of Runnel wrote it.
func (c *codec) read(in *broker.Incoming) (Message, position.Stamp, error) {
	foreign := func(why string, args ...any) error {
		return ErrForeignMessage.New(why, args...).At("%s", in.Name())
	}
	if len(in.Payload) > maxPayload {
		return Message{}, position.Stamp{}, foreign("the message holds, or declares to hold, %d bytes", len(in.Payload))
	}
	text, found := in.Properties[position.Property]
	if !found {
		return Message{}, position.Stamp{}, foreign("the message has no property %q", position.Property)
	}
	stamp, err := position.ParseStamp(text)
	if err != nil {
		return Message{}, position.Stamp{}, foreign("the message's position can't be read: %.80q", text)
	}
	id, err := uuid.Parse(in.Properties[propertyID])
	if err != nil {
		return Message{}, position.Stamp{}, foreign("the message's event id is no UUID: %.80q", in.Properties[propertyID])
	}
	eventType := in.Properties[propertyType]
	if eventType == "" {
		return Message{}, position.Stamp{}, foreign("the message has no property %q", propertyType)
	}
	if !isText(in.Key) || !isText(eventType) {
		return Message{}, position.Stamp{}, foreign("the message's key or type is not text")
	}
	var headers map[string]string
	if extra := len(in.Properties) - 3; extra > 0 {
		headers = make(map[string]string, extra)
		for k, v := range in.Properties {
			if !isText(k) || !isText(v) {
				return Message{}, position.Stamp{}, foreign("the message's property %.80q is not text", k)
			}
			if k != propertyID && k != propertyType && k != position.Property {
				headers[k] = v
			}
		}
	}
	return Message{
		ID:          id,
		Type:        eventType,
		AggregateID: in.Key,
		Topic:       in.Partition.Topic,
		Partition:   in.Partition.Index,
		OccurredAt:  in.EventTime,
		PublishedAt: in.PublishTime,
		Position:    stamp.Position,
		Ordinal:     stamp.Ordinal,
		Headers:     headers,
		payload:     in.Payload,
		schema:      in.SchemaVersion,
		codec:       c,
	}, stamp, nil
}

// isText reports whether Postgres takes s as text, as it did in the outbox.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }
