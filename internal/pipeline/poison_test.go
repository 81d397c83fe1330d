package pipeline_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/router"
)

// poisons are events that can't be published, by what is wrong with them.
var poisons = map[string]struct {
	insert func(w *world)
	code   string
	waits  bool // other events of its aggregate are written
}{
	"unknown event type":     {func(w *world) { w.insert("order", "1", "OrderEaten", 2, nil, []byte(`{}`)) }, "EVENT_TYPE_UNKNOWN", true},
	"unknown aggregate type": {func(w *world) { w.insert("dinner", "1", "OrderEaten", 2, nil, []byte(`{}`)) }, "EVENT_TYPE_UNKNOWN", false},
	"JSON that does not fit": {func(w *world) { w.insert("order", "1", "OrderShipped", 2, nil, []byte(`{"order_id":1}`)) }, "EVENT_UNENCODABLE", true},
	"unknown fingerprint":    {func(w *world) { w.insert("order", "1", "OrderShipped", 1, make([]byte, 32), []byte{2, 'a'}) }, "EVENT_UNENCODABLE", true},
	"Avro cut off":           {func(w *world) { w.avro("OrderShipped", 2, 'a', 6, 'D', 'H') }, "EVENT_UNENCODABLE", true},
	"Avro with more behind":  {func(w *world) { w.avro("OrderCancelled", 2, 'a', 2, 'b', 2, 0) }, "EVENT_UNENCODABLE", true},
	// An array of 2^62 lines.
	"Avro with a hostile count": {func(w *world) {
		w.avro("OrderPlaced", append([]byte{2, 'a', 72}, "6f9619ff-8b86-d011-b42d-00c04fc964ff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"...)...)
	}, "EVENT_UNENCODABLE", true},
	"larger than the broker accepts": {func(w *world) {
		w.insert("order", "1", "OrderCancelled", 2, nil,
			fmt.Appendf(nil, `{"order_id":"1","reason":"%s","cancelled_at":"2026-01-01T00:00:00Z"}`, strings.Repeat("x", 6<<20)))
	}, "EVENT_TOO_LARGE", true},
	"no aggregate id": {func(w *world) {
		w.db.Exec(w.t, `alter table runnel.outbox drop constraint outbox_aggregate_id_valid`)
		w.insert("order", "", "OrderShipped", 2, nil, []byte(`{}`))
	}, "EVENT_WITHOUT_AGGREGATE_ID", false},
	"headers that are not text": {func(w *world) {
		w.db.Exec(w.t, `alter table runnel.outbox drop constraint outbox_headers_flat`)
		w.db.Exec(w.t, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload, headers)
			values ('order', '1', 'OrderShipped', 2, '{"order_id":"1","carrier":"DHL","shipped_at":0}', '{"a":1}')`)
	}, "EVENT_HEADERS_INVALID", true},
}

// TestPoisonHalts: an event that can't be published halts the pipeline with its
// position; what was committed before it is published, and nothing is lost once it
// is put right.
func TestPoisonHalts(t *testing.T) {
	for name, test := range poisons {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.cfg.Recheck = time.Second
			w.init()
			p, _ := w.start()
			w.write(1, 50)
			w.caughtUp()
			test.insert(w)
			w.write(51, 20)
			st := reaches(t, p, pipeline.Halted, test.code)
			if !strings.Contains(st.Message, "position 0000000") || st.Remedy == "" {
				t.Errorf("message %q, remedy %q: want a position and a remedy", st.Message, st.Remedy)
			}
			// Another look may publish what follows in other partitions: it finds
			// the poison only when it has acquired the poison's own.
			if n := len(w.topic("order")); n < 50 {
				t.Errorf("%d events in the topic, want the 50 before the poison", n)
			}
		})
	}
}

// TestPoisonIsPublishedOnceTheCatalogHoldsIt: the remedy of an unknown event
// type is a catalog that has it; the pipeline goes on by itself.
func TestPoisonIsPublishedOnceTheCatalogHoldsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.cfg.Schemas = catalogWith(t, nil)
	w.init()
	p, _ := w.start()
	w.write(1, 20)
	w.caughtUp()
	w.insert("order", "1", "OrderReturned", 2, nil, []byte(`{"id":"1"}`))
	w.write(21, 20)
	reaches(t, p, pipeline.Halted, "EVENT_TYPE_UNKNOWN")
	addEvent(t, w.cfg.Schemas, "OrderReturned", "order")
	reaches(t, p, pipeline.Streaming, "")
	w.complete("order")
}

// TestPoisonIsPublishedOnceItsSchemaIsApplied: as the remedy of an event that does not fit its
// schema says, the pipeline goes on by itself once one is applied that it fits.
func TestPoisonIsPublishedOnceItsSchemaIsApplied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.cfg.Schemas = catalogWith(t, map[string]string{"OrderReturned": "order"})
	w.init()
	p, _ := w.start()
	w.write(1, 20)
	w.caughtUp()
	w.insert("order", "1", "OrderReturned", 2, nil, []byte(`{"id":"1","note":"torn"}`))
	w.write(21, 20)
	st := reaches(t, p, pipeline.Halted, "EVENT_UNENCODABLE")
	for _, want := range []string{"`runnel schemas apply`", "looks again", "by itself"} {
		if !strings.Contains(st.Remedy, want) {
			t.Errorf("remedy %q, want %q in it", st.Remedy, want)
		}
	}
	noted := `{"type":"record","name":"OrderReturned","aggregate":"order","fields":[
		{"name":"id","type":"string"}, {"name":"note","type":"string","default":""}]}`
	if err := os.WriteFile(filepath.Join(w.cfg.Schemas, "OrderReturned.avsc"), []byte(noted), 0o600); err != nil {
		t.Fatal(err)
	}
	reaches(t, p, pipeline.Streaming, "")
	w.complete("order")
}

// TestEventAddedWhileRunning: an event that the folder of schemas holds by now is
// published without a halt, which would last an hour here.
func TestEventAddedWhileRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Hour
	w.cfg.Schemas = catalogWith(t, nil)
	w.init()
	w.start()
	w.write(1, 20)
	w.caughtUp()
	addEvent(t, w.cfg.Schemas, "OrderReturned", "order")
	w.insert("order", "1", "OrderReturned", 2, nil, []byte(`{"id":"1"}`))
	w.write(21, 20)
	w.caughtUp()
	w.complete("order")
}

// TestLargerThanTheTopicAccepts: the topic's own policy counts, also when it
// changes while the pipeline runs.
func TestLargerThanTheTopicAccepts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	p, _ := w.start()
	w.write(1, 20)
	w.caughtUp()
	path := "/admin/v2/persistent/" + w.cfg.Namespace + "/order/maxMessageSize"
	pulsartest.Admin(t, http.MethodPost, path, 3000)
	big := fmt.Sprintf(`{"order_id":"1","carrier":"%s","shipped_at":"2026-01-01T00:00:00Z"}`, strings.Repeat("x", 4000))
	w.insert("order", "1", "OrderShipped", 2, nil, []byte(big))
	w.write(21, 20)
	reaches(t, p, pipeline.Halted, "EVENT_TOO_LARGE")
	pulsartest.Admin(t, http.MethodPost, path, 100_000)
	reaches(t, p, pipeline.Streaming, "")
	w.complete("order")
}

// TestPoisonRerouted: other routes lead past a poison event, but what was published before
// it is not published again. It comes out of the same transaction: nothing of that is
// confirmed.
func TestPoisonRerouted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	w.cfg.Routes = []router.RouteRule{{Aggregate: "order", Topic: "first"}, {Topic: "nowhere"}}
	w.db.Exec(t, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload) values
		('order', '1', 'OrderShipped', 2, '{"order_id":"1","carrier":"DHL","shipped_at":0}'),
		('orders', '1', 'OrderShipped', 2, '{"order_id":"2","carrier":"DHL","shipped_at":0}')`)
	p, stop := w.start()
	reaches(t, p, pipeline.Halted, "EVENT_TYPE_UNKNOWN")
	pgtest.Eventually(t, 20*time.Second, func() bool { return len(w.topic("first")) == 1 }, "the good event published")
	stop()
	w.cfg.Routes = []router.RouteRule{{Topic: "second"}}
	w.start()
	w.caughtUp()
	if first, second := len(w.topic("first")), len(w.topic("second")); first != 1 || second != 1 {
		t.Errorf("%d events in the first topic, %d in the second, want one in each", first, second)
	}
}
