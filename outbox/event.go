package outbox

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/schemas"
)

// Event is one domain event to publish.
type Event struct {
	AggregateID string            // required, 1 to 1024 bytes; the message key
	Payload     schemas.Payload   // required; gives event type, aggregate type and schema
	ID          uuid.UUID         // default: a new UUIDv7
	OccurredAt  time.Time         // default: now; the message's event time; kept in microseconds, after 1970
	Headers     map[string]string // traceparent, correlationid and causationid default from ctx
}

// DefaultMaxBytes is the largest event that a broker with default settings
// accepts: maxMessageSize is 5 MiB, of which 10 KiB are kept for the metadata
// that Runnel and the broker add.
const DefaultMaxBytes = 5<<20 - 10<<10

// maxCallBytes bounds one call, which travels as one message of Postgres'
// protocol, whose limit is 1 GiB.
const maxCallBytes = 256 << 20

const (
	maxAggregateID = 1024 // bytes; as the table checks
	maxName200     = 200  // bytes of an event type or an aggregate type; as the table checks
)

// row is a validated event as the outbox stores it.
type row struct {
	id            uuid.UUID
	aggregateType string
	aggregateID   string
	eventType     string
	fingerprint   []byte
	payload       []byte
	headers       string // JSON
	occurredAt    time.Time
}

// encode validates all events and encodes their payloads.
func encode(events []Event, defaults map[string]string, maxBytes int) ([]row, error) {
	now := time.Now()
	rows := make([]row, len(events))
	total := 0
	for i := range events {
		r, size, err := encodeEvent(&events[i], defaults, now, maxBytes)
		if err != nil {
			return nil, err.At("events[%d]", i)
		}
		if total += size; total > maxCallBytes {
			return nil, ErrTooLarge.New("the events of one call are larger than %d bytes together", maxCallBytes).
				At("events[%d]", i).Fix("Publish in several calls of the same transaction.")
		}
		rows[i] = r
	}
	return rows, nil
}

func encodeEvent(e *Event, defaults map[string]string, now time.Time, maxBytes int) (r row, size int, problem *fault.Error) {
	switch {
	case e.AggregateID == "":
		return r, 0, ErrInvalid.New("AggregateID is missing")
	case len(e.AggregateID) > maxAggregateID:
		return r, 0, ErrInvalid.New("AggregateID has %d bytes, more than %d", len(e.AggregateID), maxAggregateID)
	case !validText(e.AggregateID):
		return r, 0, ErrInvalid.New("AggregateID %.60q is not valid UTF-8, or holds a NUL", e.AggregateID)
	case e.Payload == nil:
		return r, 0, ErrInvalid.New("Payload is missing")
	}
	t := e.Payload.EventType()
	switch {
	case t == nil:
		return r, 0, ErrInvalid.New("Payload %T has no event type", e.Payload)
	case !validName(t.Name):
		return r, 0, ErrInvalid.New("event type %.60q: want 1 to %d of A-Z a-z 0-9 _ . : = -", t.Name, maxName200)
	case !validName(t.AggregateType):
		return r, 0, ErrInvalid.New("aggregate type %.60q: want 1 to %d of A-Z a-z 0-9 _ . : = -", t.AggregateType, maxName200)
	}
	payload, err := e.Payload.AppendAvro([]byte{}) // not nil: an event without fields has no bytes, which is not NULL
	if err != nil {
		return r, 0, ErrInvalid.Wrap(err, "payload of %s", t.Name)
	}
	headers, headerBytes, problem := encodeHeaders(e.Headers, defaults)
	if problem != nil {
		return r, 0, problem
	}
	size = len(payload) + len(e.AggregateID) + headerBytes
	if size > maxBytes {
		return r, 0, ErrTooLarge.New("%s of %s has %d bytes, more than %d", t.Name, e.AggregateID, size, maxBytes)
	}
	r = row{
		id: e.ID, aggregateType: t.AggregateType, aggregateID: e.AggregateID, eventType: t.Name,
		fingerprint: t.Fingerprint[:], payload: payload, headers: headers, occurredAt: e.OccurredAt,
	}
	if r.occurredAt.IsZero() {
		r.occurredAt = now
	}
	// The message's event time is unsigned milliseconds, where 0 means none.
	if r.occurredAt.UnixMicro() <= 0 || r.occurredAt.Year() > 9999 {
		return r, 0, ErrInvalid.New("OccurredAt %v is not between 1970 and 9999", e.OccurredAt)
	}
	if r.id == uuid.Nil {
		if r.id, err = uuid.NewV7(); err != nil {
			return r, 0, ErrInvalid.Wrap(err, "make an event id")
		}
	}
	return r, size, nil
}

// encodeHeaders merges defaults under headers and returns them as JSON with
// the number of bytes they take in the message.
func encodeHeaders(headers, defaults map[string]string) (text string, size int, problem *fault.Error) {
	all := headers
	if len(defaults) > 0 {
		all = make(map[string]string, len(headers)+len(defaults))
		for name, value := range defaults {
			all[name] = value
		}
		for name, value := range headers {
			all[name] = value
		}
	}
	if len(all) == 0 {
		return "{}", 0, nil
	}
	for name, value := range all {
		switch name {
		case "":
			return "", 0, ErrInvalid.New("a header without a name")
		case "id", "type", "position":
			return "", 0, ErrInvalid.New("header %q is a property of every message", name)
		}
		if !validText(name) || !validText(value) {
			return "", 0, ErrInvalid.New("header %.60q is not valid UTF-8, or holds a NUL", name)
		}
		size += len(name) + len(value)
	}
	encoded, err := json.Marshal(all)
	if err != nil {
		return "", 0, ErrInvalid.Wrap(err, "headers")
	}
	return string(encoded), size, nil
}

// validText reports whether Postgres can store s as text.
func validText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// validName reports whether s can name an event type or an aggregate type: it
// may become part of a topic's name. The table has the same check.
func validName(s string) bool {
	if s == "" || len(s) > maxName200 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		ok := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '_' || c == '.' || c == ':' || c == '=' || c == '-'
		if !ok {
			return false
		}
	}
	return true
}
