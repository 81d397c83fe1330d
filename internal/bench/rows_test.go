package bench

import (
	"testing"

	"github.com/runnel-cdc/runnel/schemas"
)

// TestTemplate: the payloads are of one size, valid, and numbered where fill writes.
func TestTemplate(t *testing.T) {
	event, err := loadEvent()
	if err != nil {
		t.Fatal(err)
	}
	for _, enc := range []Encoding{Avro, JSON} {
		p, err := newTemplate(event, enc, payloadBytes)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.payload) < payloadBytes || len(p.payload) > payloadBytes+150 {
			t.Errorf("%s: %d bytes", enc, len(p.payload))
		}
		copy(p.payload[p.at:], "000000123456")
		if n, err := numberOf(p.payload); n != 123456 || err != nil {
			t.Errorf("%s: number %d, %v", enc, n, err)
		}
		binary := p.payload
		if enc == JSON {
			if binary, err = schemas.AppendJSONToAvro(nil, event.Schema, p.payload); err != nil {
				t.Fatal(err)
			}
		}
		if err := schemas.Validate(event.Schema, binary); err != nil {
			t.Errorf("%s: %v", enc, err)
		}
	}
}
