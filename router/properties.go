package router

import (
	"encoding/json"

	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// Names of the message properties. They follow CloudEvents' attribute names.
const (
	PropertyID   = "id"   // the event's UUID
	PropertyType = "type" // the event type: dispatch on it before decoding
)

// PropertyBuffer holds the properties of one message at a time. The zero value is ready.
type PropertyBuffer struct {
	list properties.List
	text []byte
}

// Of returns all properties of a message, which are valid until the next call. Their
// size does not depend on the message's ordinal.
func (b *PropertyBuffer) Of(m *Send) properties.List {
	b.text = m.Stamp.AppendText(b.text[:0])
	id := len(b.text)
	b.text = appendUUID(b.text, m.ID)
	b.list = append(b.list[:0], properties.Pair{Name: position.Property, Value: text(b.text[:id])})
	if !m.NoID {
		b.list = append(b.list, properties.Pair{Name: PropertyID, Value: text(b.text[id:])})
	}
	b.list = append(b.list, properties.Pair{Name: PropertyType, Value: m.Type})
	b.list = append(b.list, m.More...)
	return b.list
}

// headers returns an event's headers as properties.
func headers(e *Event) (properties.List, error) {
	if len(e.Headers) <= 2 { // {}
		return nil, nil
	}
	var all map[string]string
	if err := json.Unmarshal(e.Headers, &all); err != nil {
		return nil, poison(ErrHeaders.Wrap(err, "event %s of type %s", uuid(e.ID), e.Type), e)
	}
	for _, reserved := range []string{PropertyID, PropertyType, position.Property, ""} {
		if _, ok := all[reserved]; ok {
			return nil, poison(ErrHeaders.New("event %s of type %s has a header named %q", uuid(e.ID), e.Type, reserved), e)
		}
	}
	return properties.FromMap(all), nil
}
