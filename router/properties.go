package router

import (
	"encoding/json"

	"github.com/runnel-cdc/runnel/internal/position"
)

// properties returns a message's properties, but for the position.
func properties(e *Event, eventType string) (map[string]string, error) {
	var p map[string]string
	if len(e.Headers) > 2 { // more than {}
		if err := json.Unmarshal(e.Headers, &p); err != nil {
			return nil, poison(ErrHeaders.Wrap(err, "event %s of type %s", uuid(e.ID), e.Type), e)
		}
		for _, reserved := range []string{PropertyID, PropertyType, position.Property, ""} {
			if _, ok := p[reserved]; ok {
				return nil, poison(ErrHeaders.New("event %s of type %s has a header named %q", uuid(e.ID), e.Type, reserved), e)
			}
		}
	}
	if p == nil {
		p = make(map[string]string, 3)
	}
	p[PropertyID] = uuid(e.ID)
	p[PropertyType] = eventType
	return p, nil
}
