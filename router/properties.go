package router

import (
	"encoding/json"

	"github.com/runnel-cdc/runnel/internal/position"
)

// perProperty is what a property takes in a message besides its text.
const perProperty = 12

// properties returns a message's properties, with room for the position, and
// the bytes they take.
func properties(e *Event, eventType string) (map[string]string, int, error) {
	var headers map[string]string
	if len(e.Headers) > 2 { // more than {}
		if err := json.Unmarshal(e.Headers, &headers); err != nil {
			return nil, 0, poison(ErrHeaders.Wrap(err, "event %s of type %s", uuid(e.ID), e.Type), e)
		}
	}
	p := headers
	if p == nil {
		p = make(map[string]string, 3)
	}
	size := 0
	for k, v := range p {
		if k == PropertyID || k == PropertyType || k == position.Property || k == "" {
			return nil, 0, poison(ErrHeaders.New("event %s of type %s has a header named %q", uuid(e.ID), e.Type, k), e)
		}
		size += len(k) + len(v) + perProperty
	}
	p[PropertyID] = uuid(e.ID)
	p[PropertyType] = eventType
	size += len(PropertyID) + 36 + len(PropertyType) + len(eventType) + len(position.Property) + 51 + 3*perProperty
	return p, size, nil
}
