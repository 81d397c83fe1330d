package outboxtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/runnel-cdc/runnel/internal/knowntypes"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// payload is what a row of the outbox holds.
type payload struct {
	eventType *schemas.EventType // without Schema, where this program does not know it
	data      []byte
	isJSON    bool // by runnel.publish, or of a watched table
}

func newPayload(eventType, aggregateType string, fingerprint, data []byte, isJSON bool) *payload {
	p := &payload{data: data, isJSON: isJSON, eventType: &schemas.EventType{Name: eventType, AggregateType: aggregateType}}
	if len(fingerprint) == len(p.eventType.Fingerprint) {
		p.eventType.Fingerprint = schemas.Fingerprint(fingerprint)
		if known, ok := knowntypes.Find(p.eventType.Fingerprint).(*schemas.EventType); ok {
			p.eventType = known
		}
	}
	return p
}

// EventType implements schemas.Payload.
func (p *payload) EventType() *schemas.EventType { return p.eventType }

// AppendAvro implements schemas.Payload.
func (p *payload) AppendAvro(dst []byte) ([]byte, error) {
	if p.isJSON {
		return dst, fmt.Errorf("%s was published as JSON: decode it to its generated type first, with outboxtest.Decode", p.eventType.Name)
	}
	return append(dst, p.data...), nil
}

// String returns the payload as JSON, or says that this program does not know its
// type.
func (p *payload) String() string {
	switch {
	case p.isJSON:
		return string(p.data)
	case p.eventType.Schema == nil:
		return fmt.Sprintf("%d bytes under schema %s, which no generated type of this program has", len(p.data), p.eventType.Fingerprint)
	}
	text, err := schemas.AppendAvroToJSON(nil, p.eventType.Schema, p.data)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// avroUnder returns the payload in Avro under an event type's schema.
func (p *payload) avroUnder(want *schemas.EventType) ([]byte, error) {
	switch {
	case p.isJSON:
		return schemas.AppendJSONToAvro(nil, want.Schema, p.data)
	case p.eventType.Fingerprint != want.Fingerprint:
		return nil, fmt.Errorf("it was published under schema %s, and the type has %s", p.eventType.Fingerprint, want.Fingerprint)
	}
	return p.data, nil
}

// Decode returns the payload of an event that Published returned as the generated
// type T. It fails the test at once when the event is another.
func Decode[T schemas.Payload](t testing.TB, e outbox.Event) (out T) {
	t.Helper()
	if as, ok := e.Payload.(T); ok {
		return as
	}
	want := out.EventType()
	if name := e.Payload.EventType().Name; name != want.Name {
		t.Fatalf("the event of %s is %s, not %s", e.AggregateID, name, want.Name)
	}
	into, ok := any(&out).(schemas.Decoder)
	p, published := e.Payload.(*payload)
	if !ok || !published {
		t.Fatalf("%T can't be decoded as %T", e.Payload, out)
	}
	data, err := p.avroUnder(want)
	if err == nil {
		err = into.DecodeAvro(data)
	}
	if err != nil {
		t.Fatalf("%s of %s as %T: %v", want.Name, e.AggregateID, out, err)
	}
	return out
}

// jsonOf returns a payload as indented JSON with sorted keys, under the schema of
// an event type where it is not the payload's own.
func jsonOf(p schemas.Payload, under *schemas.EventType) string {
	var text []byte
	switch own := p.(type) {
	case *payload:
		text = []byte(own.String())
		if own.isJSON && under != nil { // as what is compared with it: defaults, forms of numbers
			if data, err := own.avroUnder(under); err == nil {
				text = []byte((&payload{eventType: under, data: data}).String())
			}
		}
	default:
		data, err := p.AppendAvro(nil)
		if err != nil {
			return err.Error()
		}
		text = []byte((&payload{eventType: p.EventType(), data: data}).String())
	}
	var value any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if !json.Valid(text) || decoder.Decode(&value) != nil {
		return string(text)
	}
	indented, err := json.MarshalIndent(value, "  ", "  ")
	if err != nil {
		return string(text)
	}
	return string(indented)
}
