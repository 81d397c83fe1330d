package router

import (
	"encoding/hex"
	"errors"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// encode builds the message of an event. Its payload and key lie in the arena.
func (s *State) encode(l *lane, t *target, e *Event) (Send, error) {
	codec := s.topics[t.topic].Codec
	arena := s.ready.room(len(e.Payload) + len(e.AggregateID) + 64)
	start := len(arena)
	var (
		out    []byte
		schema *schemas.TopicSchema
		err    error
	)
	switch e.Encoding {
	case Avro:
		out, schema, err = codec.AppendAvro(arena, t.eventType, schemas.Fingerprint(e.Fingerprint), e.Payload)
	case JSON:
		out, schema, err = codec.AppendJSON(arena, t.eventType, e.Payload)
	default:
		err = errors.New("the encoding is neither 1 (Avro) nor 2 (JSON)")
	}
	if isEnvironment(err) {
		return Send{}, err
	}
	if errors.Is(err, schemas.ErrUnknownEvent) {
		return Send{}, poison(ErrUnknownEvent.Wrap(err, "event %s of type %q and aggregate type %q",
			uuid(e.ID), e.Type, e.AggregateType), e)
	}
	if err != nil {
		return Send{}, poison(ErrUnencodable.Wrap(err, "event %s of type %q, %s %s", uuid(e.ID), e.Type, e.AggregateType, e.AggregateID), e)
	}
	payload := out[start:len(out):len(out)]
	start = len(out)
	out = append(out, e.AggregateID...)
	key := out[start:]
	// An append may have moved to memory of its own; the arena then goes on
	// there, so that no two payloads ever overlap.
	s.ready.arena = out

	headers, err := headers(e)
	if err != nil {
		return Send{}, err
	}
	m := Send{
		Stamp:      position.Stamp{Position: e.Position},
		Key:        text(key),
		Payload:    payload,
		ID:         e.ID,
		Type:       t.eventType,
		More:       headers,
		OccurredAt: e.OccurredAt,
		Schema:     schema,
	}
	s.sized = m // which does not escape so
	if err := s.checkSize(&s.sized, l.maxBytes); err != nil {
		return Send{}, poison(ErrTooLarge.Wrap(err, "event %s, with a payload of %d bytes", uuid(e.ID), len(payload)), e)
	}
	return m, nil
}

// isEnvironment reports whether what the codec asks failed: no fault of the event's.
func isEnvironment(err error) bool {
	f := fault.Find(err)
	return f != nil && f.Code.Class == fault.Environment
}

// poison says at which position the pipeline stops.
func poison(err *fault.Error, e *Event) error { return err.At("position %s", e.Position) }

// uuid returns the text form of an event id.
func uuid(id [16]byte) string {
	return string(appendUUID(nil, id))
}

func appendUUID(dst []byte, id [16]byte) []byte {
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return append(dst, b[:]...)
}
