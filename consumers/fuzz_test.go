package consumers_test

import (
	"testing"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
)

// FuzzMessage reads messages with foreign properties and payloads: whatever
// they hold, reading and decoding must end in a value or an error.
func FuzzMessage(f *testing.F) {
	w := newScripted(map[string]int{orders: 1})
	w.register(f, orders, placedV1)
	w.register(f, orders, placedV2, shipped)
	of := broker.Partition{Topic: orders}
	for _, m := range []*broker.Incoming{
		w.message(f, of, "a", OrderPlacedOld{N: 1, Note: "x"}),
		w.message(f, of, "a", OrderPlaced{N: 1, Note: "x", Amount: 5}),
		w.message(f, of, "a", OrderShipped{N: 1}),
	} {
		f.Add(m.Properties["position"], m.Properties["id"], m.Properties["type"], m.Payload, m.SchemaVersion)
	}
	f.Add("", "", "", []byte(nil), int64(-1))
	f.Fuzz(func(t *testing.T, position, id, eventType string, payload []byte, version int64) {
		var e OrderPlaced
		_ = consumers.ReadAndDecode(t.Context(), w, &broker.Incoming{
			Partition: of, Payload: payload, SchemaVersion: version,
			Properties: map[string]string{"position": position, "id": id, "type": eventType},
		}, &e)
	})
}
