package router

import (
	"encoding/hex"
	"errors"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// Names of the message properties. They follow CloudEvents' attribute names.
const (
	PropertyID   = "id"   // the event's UUID
	PropertyType = "type" // the event type: dispatch on it before decoding
)

// encode builds the message of an event, and its size as the broker counts it.
func (s *State) encode(t *target, e *Event) (Send, int, error) {
	codec := s.topics[t.topic].Codec
	if cap(s.arena)-len(s.arena) < len(e.Payload)+64 {
		s.arena = make([]byte, 0, max(arenaSize, len(e.Payload)+64))
	}
	start := len(s.arena)
	var (
		out    []byte
		schema *schemas.TopicSchema
		err    error
	)
	switch e.Encoding {
	case Avro:
		out, schema, err = codec.AppendAvro(s.arena, t.eventType, schemas.Fingerprint(e.Fingerprint), e.Payload)
	case JSON:
		out, schema, err = codec.AppendJSON(s.arena, t.eventType, e.Payload)
	default:
		err = errors.New("the encoding is neither 1 (Avro) nor 2 (JSON)")
	}
	if errors.Is(err, schemas.ErrUnknownEvent) {
		return Send{}, 0, poison(ErrUnknownEvent.Wrap(err, "event %s of type %q and aggregate type %q",
			uuid(e.ID), e.Type, e.AggregateType), e)
	}
	if err != nil {
		return Send{}, 0, poison(ErrUnencodable.Wrap(err, "event %s of type %q", uuid(e.ID), e.Type), e)
	}
	// An append may have moved to memory of its own; the arena then goes on
	// there, so that no two payloads ever overlap.
	s.arena = out
	payload := out[start:len(out):len(out)]

	properties, size, err := properties(e, t.eventType)
	if err != nil {
		return Send{}, 0, err
	}
	size += len(payload) + len(e.AggregateID) + messageOverhead
	return Send{
		Stamp:      position.Stamp{Position: e.Position},
		Key:        text(e.AggregateID),
		Payload:    payload,
		Properties: properties,
		OccurredAt: e.OccurredAt,
		Schema:     schema,
	}, size, nil
}

// poison says at which position the pipeline stops.
func poison(err *fault.Error, e *Event) error { return err.At("position %s", e.Position) }

// uuid returns the text form of an event id.
func uuid(id [16]byte) string {
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}
