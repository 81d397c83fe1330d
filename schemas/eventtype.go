package schemas

import (
	"crypto/sha256"
	"encoding/json"

	"github.com/runnel-cdc/runnel/internal/knowntypes"
)

// aggregateProp is the custom property that makes a record an event.
const aggregateProp = "aggregate"

// EventType is one version of an event: a record that carries the custom
// property "aggregate". It is immutable and safe for concurrent use.
type EventType struct {
	Name          string // the record's name, with its namespace where it has one
	AggregateType string // whose topic it belongs to
	Schema        *Schema
	JSON          string      // normalised, self-contained definition
	Fingerprint   Fingerprint // SHA-256 of JSON
}

// ParseEventType parses the self-contained definition of an event. It returns
// ErrNotAnEvent for any other schema.
func ParseEventType(definition string) (*EventType, error) {
	s, err := parseStrict([]byte(definition), "")
	if err != nil {
		return nil, err
	}
	e := newEventType(s)
	if e == nil {
		return nil, ErrNotAnEvent.New("%s is a %s without the property %q", s.FullName(), s.Type, aggregateProp)
	}
	return e, nil
}

// MustEventType is ParseEventType for generated code, whose definitions are
// known to be good. It panics on any other.
func MustEventType(definition string) *EventType {
	e, err := ParseEventType(definition)
	if err != nil {
		panic("schemas: generated event type: " + err.Error())
	}
	knowntypes.Add(e.Fingerprint, e)
	return e
}

// newEventType returns nil when s is no event.
func newEventType(s *Schema) *EventType {
	aggregate, ok := s.Aggregate()
	if !ok {
		return nil
	}
	text := s.Normalised()
	return &EventType{
		Name:          s.FullName(),
		AggregateType: aggregate,
		Schema:        s,
		JSON:          text,
		Fingerprint:   sha256.Sum256([]byte(text)),
	}
}

// Aggregate returns the aggregate type an event belongs to; false when s is
// not an event.
func (s *Schema) Aggregate() (string, bool) {
	raw, ok := s.Props[aggregateProp]
	if !ok || s.Type != Record {
		return "", false
	}
	var aggregate string
	if err := json.Unmarshal(raw, &aggregate); err != nil || aggregate == "" {
		return "", false
	}
	return aggregate, true
}

// deprecatedProp marks a type or a field that is to be used no more.
const deprecatedProp = "deprecated"

// Deprecated reports whether the type carries the custom property "deprecated", and
// what that says to use instead: "" when it is only true.
func (s *Schema) Deprecated() (why string, ok bool) { return deprecated(s.Props) }

// Deprecated is Schema.Deprecated of a field.
func (f *Field) Deprecated() (why string, ok bool) { return deprecated(f.Props) }

func deprecated(props map[string]json.RawMessage) (why string, ok bool) {
	raw := props[deprecatedProp]
	if json.Unmarshal(raw, &why) == nil && why != "" {
		return why, true
	}
	return "", string(raw) == "true"
}
