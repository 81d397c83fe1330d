package readerstest

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/examples/quickstart"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/brokertest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
	"github.com/runnel-cdc/runnel/internal/readerstest/programs"
	"github.com/runnel-cdc/runnel/schemas"
)

// message is what a test puts into a topic.
type message struct {
	lsn, ordinal uint64 // 0: without a position
	kind         string // the type
	payload      string // JSON; of a type that the topic's schema does not have, the bytes themselves
}

const (
	placed    = `{"order_id": "7", "customer_id": "6f2c1f5e-1111-4222-8333-444455556666", "lines": [], "total": 0.5, "currency": "EUR", "placed_at": "2026-01-01T12:00:00Z"}`
	paid      = `{"order_id": "7", "amount": 0.5, "method": "INVOICE", "paid_at": "2026-01-01T12:00:00Z"}`
	shipped   = `{"order_id": "7", "carrier": "post <&> \"größer\"", "shipped_at": "2026-01-01T12:00:00Z"}`
	placed8   = `{"order_id": "8", "customer_id": "6f2c1f5e-1111-4222-8333-444455556666", "lines": [], "total": -0.07, "currency": "EUR", "ship_to": {"street": "", "city": "", "country": ""}, "placed_at": "2026-01-01T12:00:00Z"}`
	shipped8  = `{"weight": 12.5, "order_id": "8", "carrier": "UPS", "shipped_at": "2026-01-01T12:00:00Z"}`
	cancelled = `{"order_id": "7", "reason": "", "cancelled_at": "2026-01-01T12:00:00Z"}`

	// OrderShipped as it may become: a field more, before the others.
	shippedNow = `{"type": "record", "name": "OrderShipped", "aggregate": "order", "fields": [
		{"name": "weight", "type": "double", "default": 0},
		{"name": "order_id", "type": "string"}, {"name": "carrier", "type": "string"},
		{"name": "tracking", "type": ["null", "string"], "default": null},
		{"name": "shipped_at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}`
)

// What a reader makes of a topic: the copy and the counts, and how it ends.
func TestInput(t *testing.T) {
	run := programs.New(t)
	readers := run.Readers(t)
	for name, test := range map[string]struct {
		messages []message
		want     string // the copy, as its database holds it
		stopped  string // what the reader says when it stops; empty: it does not
	}{
		// Of an unknown type nothing but the type is looked at; what was published
		// again counts once; each message is read by the schema that it was written with.
		"nothing wrong": {
			messages: []message{
				{8, 1, "OrderPlaced", placed}, {16, 2, "OrderPraised", "\xff\xff\xff\xff"}, {24, 3, "OrderPaid", paid},
				{16, 2, "OrderPraised", ""}, {24, 3, "OrderPaid", paid}, {32, 4, "OrderShipped", shipped},
				{kind: newSchema, payload: shippedNow}, {40, 5, "OrderPlaced", placed8}, {48, 6, "OrderShipped", shipped8},
			},
			want: `7 shipped 0.50 INVOICE post <&> "größer"; 8 shipped -0.07 - UPS; applied 5; unknown 1; ordinal 6`,
		},
		"gap": {
			messages: []message{{8, 1, "OrderPlaced", placed}, {16, 2, "OrderPaid", paid}, {32, 5, "OrderCancelled", cancelled}},
			want:     `7 paid 0.50 INVOICE -; applied 2; unknown 0; ordinal 2`,
			stopped:  "/order-partition-0: gap: 2 events are missing between ordinal 2 and 5",
		},
		"gap at the beginning": { // retention took the events before
			messages: []message{{32, 5, "OrderCancelled", cancelled}},
			want:     `applied 0; unknown 0`,
			stopped:  "/order-partition-0: gap: 4 events are missing between ordinal 0 and 5",
		},
		"other history": {
			messages: []message{{8, 1, "OrderPlaced", placed}, {16, 2, "OrderPaid", paid}, {12, 3, "OrderCancelled", cancelled}},
			want:     `7 paid 0.50 INVOICE -; applied 2; unknown 0; ordinal 2`,
			stopped:  "is of another history than",
		},
		"foreign message": {
			messages: []message{{8, 1, "OrderPlaced", placed}, {0, 0, "OrderCancelled", cancelled}},
			want:     `7 placed 0.50 - -; applied 1; unknown 0; ordinal 1`,
			stopped:  "has no position: Runnel did not publish it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic := publish(t, test.messages)
			for _, p := range readers {
				file := filepath.Join(t.TempDir(), p.Name)
				r, err := p.Start(t.Context(), file, topic, "--until-idle")
				if err != nil {
					t.Fatal(err)
				}
				err = r.Wait()
				if (err != nil) != (test.stopped != "") || !strings.Contains(r.Text(), test.stopped) {
					t.Errorf("%s: ended with %v, want %q:\n%s", p.Name, err, test.stopped, r.Text())
				}
				if got := (database{t, run, file}).contents(); got != test.want {
					t.Errorf("%s: the copy holds\n  %s\nwant\n  %s", p.Name, got, test.want)
				}
			}
		})
	}
}

// newSchema is the kind of a message that is none: the topic's schema changes.
const newSchema = "new schema"

// publish makes a topic with one partition that holds messages, and returns its
// name.
func publish(t *testing.T, messages []message) (topic string) {
	t.Helper()
	client := brokertest.Dial(t)
	topic = brokertest.Topic(t, client, brokertest.Namespace(t, client), "order", 1)
	registry := schemas.NewRegistry(client.AdminURL(), client.HTTP())
	catalog, err := schemas.Load(quickstart.Schemas, "schemas")
	if err != nil {
		t.Fatal(err)
	}
	codec, under := register(t, registry, topic, catalog.Events())
	producer, _, err := client.Acquire(t.Context(), broker.AcquireRequest{
		Partition: broker.Partition{Topic: topic}, Producer: "runnel-test", Schema: under,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	for _, m := range messages {
		if m.kind == newSchema {
			changed, err := schemas.ParseEventType(m.payload)
			if err != nil {
				t.Fatal(err)
			}
			events := slices.DeleteFunc(catalog.Events(), func(e *schemas.EventType) bool { return e.Name == changed.Name })
			codec, under = register(t, registry, topic, append(events, changed))
			continue
		}
		out := &broker.Outgoing{
			Key: "7", Payload: []byte(m.payload), EventTime: time.Now(), Schema: under,
			Properties: properties.List{{Name: "id", Value: uuid.NewString()}, {Name: "type", Value: m.kind}},
		}
		if m.ordinal > 0 {
			at := position.Stamp{Position: position.Position{Epoch: 1, LSN: m.lsn}, Ordinal: m.ordinal}
			out.Properties = append(out.Properties, properties.Pair{Name: position.Property, Value: at.String()})
		}
		if _, known := catalog.Event(m.kind); known {
			if out.Payload, _, err = codec.AppendJSON(nil, m.kind, out.Payload); err != nil {
				t.Fatal(err)
			}
		}
		sent := make(chan error, 1)
		producer.Send(t.Context(), out, func(_ broker.MessageID, err error) { sent <- err })
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	return topic
}

// register makes events the topic's schema.
func register(t *testing.T, registry *schemas.Registry, topic string, events []*schemas.EventType) (*schemas.TopicCodec, *broker.Schema) {
	t.Helper()
	made, err := schemas.Compose("order", events, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Register(t.Context(), topic, made); err != nil {
		t.Fatal(err)
	}
	versions, err := registry.Versions(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	codec, err := schemas.NewTopicCodec(versions)
	if err != nil {
		t.Fatal(err)
	}
	latest := versions[len(versions)-1]
	return codec, &broker.Schema{Name: latest.Name, JSON: latest.JSON, Version: latest.Version}
}

// contents returns what a copy holds.
func (d database) contents() string {
	return d.script(`
print("; ".join(row[0] for query in (
    "select id || ' ' || status || ' ' || total || ' ' || ifnull(paid_by, '-') || ' ' || ifnull(carrier, '-') from orders order by id",
    "select what || ' ' || n from counted order by what",
    "select 'ordinal ' || ordinal from position") for row in db.execute(query)), end="")`)
}
