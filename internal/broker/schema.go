package broker

import "github.com/runnel-cdc/runnel/internal/broker/wire"

// onWire is the schema as the wire takes it; nil of nil.
func (s *Schema) onWire() *wire.Schema {
	if s == nil {
		return nil
	}
	return &wire.Schema{Name: s.Name, JSON: s.JSON}
}

// schemaVersions keeps what the broker calls the schemas that a producer has
// used; no schema has no version. Callers pass the same pointer for long runs of
// messages; equal schemas behind new pointers do not add up.
type schemaVersions struct {
	last [2]struct { // those that were asked for last: writers with two versions take turns
		schema  *Schema
		version []byte
	}
	all map[Schema][]byte
}

func (c *schemaVersions) get(s *Schema) (version []byte, known bool) {
	for i := range c.last {
		if c.last[i].schema == s { // of nil: no version
			return c.last[i].version, true
		}
	}
	if s == nil {
		return nil, true
	}
	if version, known = c.all[*s]; known {
		c.last[1] = c.last[0]
		c.last[0].schema, c.last[0].version = s, version
	}
	return version, known
}

func (c *schemaVersions) put(s *Schema, version []byte) {
	if s == nil {
		return
	}
	if c.all == nil {
		c.all = make(map[Schema][]byte)
	}
	c.all[*s] = version
}
