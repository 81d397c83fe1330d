package tail

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/schemas"
)

type registry struct {
	schema *schemas.TopicSchema
	asked  int
}

func (r *registry) Version(context.Context, string, int64) (*schemas.TopicSchema, error) {
	r.asked++
	if r.schema == nil {
		return nil, errors.New("registry is down")
	}
	return r.schema, nil
}

func TestDecode(t *testing.T) {
	event, err := schemas.ParseEventType(`{"type": "record", "name": "Placed", "aggregate": "order", "fields": [{"name": "id", "type": "string"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	composed, err := schemas.Compose("order", []*schemas.EventType{event}, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := message(2, 7, 3, "Placed", "k\x1b")
	m.Payload = []byte{0, 6, 'a', '<', 'b'} // branch 0, a string of three bytes
	m.Properties["traceparent"] = "00-1"
	m.EventTime = time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	r := &registry{schema: composed}
	d := NewDecoder(r)
	var line bytes.Buffer
	for range 2 {
		line.Reset()
		if err := WriteJSON(&line, d.Decode(t.Context(), m)); err != nil {
			t.Fatal(err)
		}
	}
	want := `{"topic":"persistent://public/x/t","partition":2,"ordinal":3,"position":"00000001-0000000000000007-00000000-0000000000000003",` +
		`"id":"7","type":"Placed","key":"k\u001b","occurred_at":"2026-01-02T03:04:05.006Z","headers":{"traceparent":"00-1"},` +
		`"schema_version":0,"event":{"id":"a<b"}}` + "\n"
	if line.String() != want || r.asked != 1 {
		t.Errorf("asked %d times\n%s\n%s", r.asked, line.String(), want)
	}

	// Unions: what may be null is plain, a choice names its type.
	unions, err := schemas.ParseEventType(`{"type": "record", "name": "Moved", "aggregate": "order", "fields": [
		{"name": "note", "type": ["null", "string"]}, {"name": "by", "type": ["null", "string"]}, {"name": "to", "type": ["null", "long", "string"]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if composed, err = schemas.Compose("order", []*schemas.EventType{unions}, nil); err != nil {
		t.Fatal(err)
	}
	u := message(0, 1, 1, "Moved", "k")
	u.Payload = []byte{0, 0, 2, 2, 'a', 2, 14}
	if e := NewDecoder(&registry{schema: composed}).Decode(t.Context(), u); string(e.Event) != `{"note":null,"by":"a","to":{"long":7}}` {
		t.Errorf("%s %s", e.Event, e.Error)
	}

	for name, change := range map[string]func(*broker.Incoming){
		"truncated":  func(m *broker.Incoming) { m.Payload = []byte{0, 6} },
		"no branch":  func(m *broker.Incoming) { m.Payload = []byte{8} },
		"no schema":  func(m *broker.Incoming) { m.SchemaVersion = -1 },
		"not ours":   func(m *broker.Incoming) { m.Properties = nil },
		"no payload": func(m *broker.Incoming) { m.Payload = nil },
	} {
		bad := message(0, 1, 1, "Placed", "k")
		bad.Payload = m.Payload
		change(bad)
		e := d.Decode(t.Context(), bad)
		if e.Error == "" || e.Event != nil {
			t.Errorf("%s: %+v", name, e)
		}
		line.Reset()
		if err := WriteJSON(&line, e); err != nil || !strings.Contains(line.String(), `"event":null,"error":"`) {
			t.Errorf("%s: %v, %s", name, err, line.String())
		}
	}
	if e := NewDecoder(&registry{}).Decode(t.Context(), m); !strings.Contains(e.Error, "registry is down") {
		t.Errorf("%+v", e)
	}
}
