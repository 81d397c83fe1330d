package broker

import (
	"errors"

	"github.com/apache/pulsar-client-go/pulsar"
)

// rawSchema announces an AVRO schema to the broker while payloads pass as the
// bytes they are. The client needs its SchemaInfo only: it looks the version
// up once per producer and stamps it on each batch.
type rawSchema struct{ info pulsar.SchemaInfo }

var _ pulsar.Schema = (*rawSchema)(nil)

func newRawSchema(s *Schema) *rawSchema {
	return &rawSchema{pulsar.SchemaInfo{Name: s.Name, Schema: s.JSON, Type: pulsar.AVRO}}
}

var errRawSchema = errors.New("payloads are sent and received as bytes")

func (s *rawSchema) Encode(any) ([]byte, error)        { return nil, errRawSchema }
func (s *rawSchema) Decode([]byte, any) error          { return errRawSchema }
func (s *rawSchema) Validate([]byte) error             { return nil }
func (s *rawSchema) GetSchemaInfo() *pulsar.SchemaInfo { return &s.info }

// schemaSet keeps one rawSchema per schema. Callers pass the same pointer for
// long runs of messages; equal schemas behind new pointers do not add up.
type schemaSet struct {
	last    *Schema
	lastRaw *rawSchema
	all     map[Schema]*rawSchema
}

func (c *schemaSet) get(s *Schema) *rawSchema {
	if s == c.last {
		return c.lastRaw
	}
	raw := c.all[*s]
	if raw == nil {
		raw = newRawSchema(s)
		if c.all == nil {
			c.all = make(map[Schema]*rawSchema)
		}
		c.all[*s] = raw
	}
	c.last, c.lastRaw = s, raw
	return raw
}
