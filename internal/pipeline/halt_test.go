package pipeline_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// reaches waits until the pipeline is in a state, with a code.
func reaches(t *testing.T, p *pipeline.Pipeline, state, code string) pipeline.Status {
	t.Helper()
	var st pipeline.Status
	pgtest.Eventually(t, 60*time.Second, func() bool {
		st = p.Status()
		return st.State == state && st.Code == code
	}, "state "+state+" "+code)
	return st
}

// insert writes one row as the table takes it, whatever the event types say.
func (w *world) insert(aggregate, key, eventType string, encoding int, fingerprint, payload []byte) {
	w.t.Helper()
	w.db.Exec(w.t, `delete from runnel.event_type`)
	w.db.Exec(w.t, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, fingerprint, payload)
		values ($1, $2, $3, $4, $5, $6)`, aggregate, key, eventType, encoding, fingerprint, payload)
}

// avro inserts an event under its registered schema with any bytes.
func (w *world) avro(eventType string, payload ...byte) {
	w.t.Helper()
	catalog, err := schemas.Load(os.DirFS(schemasDir), ".")
	if err != nil {
		w.t.Fatal(err)
	}
	e, ok := catalog.Event(eventType)
	if !ok {
		w.t.Fatalf("no event %s", eventType)
	}
	w.insert("order", "1", eventType, 1, e.Fingerprint[:], payload)
}

// TestPoisonHalts: an event that can't be published halts the pipeline with its
// position; what was committed before it is published, what comes after waits,
// and nothing is lost once it is put right.
func TestPoisonHalts(t *testing.T) {
	for name, test := range map[string]struct {
		insert func(w *world)
		code   string
	}{
		"unknown event type":     {func(w *world) { w.insert("order", "1", "OrderEaten", 2, nil, []byte(`{}`)) }, "EVENT_TYPE_UNKNOWN"},
		"unknown aggregate type": {func(w *world) { w.insert("dinner", "1", "OrderEaten", 2, nil, []byte(`{}`)) }, "EVENT_TYPE_UNKNOWN"},
		"JSON that does not fit": {func(w *world) { w.insert("order", "1", "OrderShipped", 2, nil, []byte(`{"order_id":1}`)) }, "EVENT_UNENCODABLE"},
		"unknown fingerprint":    {func(w *world) { w.insert("order", "1", "OrderShipped", 1, make([]byte, 32), []byte{2, 'a'}) }, "EVENT_UNENCODABLE"},
		"Avro cut off":           {func(w *world) { w.avro("OrderShipped", 2, 'a', 6, 'D', 'H') }, "EVENT_UNENCODABLE"},
		"Avro with more behind":  {func(w *world) { w.avro("OrderCancelled", 2, 'a', 2, 'b', 2, 0) }, "EVENT_UNENCODABLE"},
		// An array of 2^62 lines.
		"Avro with a hostile count": {func(w *world) {
			w.avro("OrderPlaced", append([]byte{2, 'a', 72}, "6f9619ff-8b86-d011-b42d-00c04fc964ff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"...)...)
		}, "EVENT_UNENCODABLE"},
		"larger than the broker accepts": {func(w *world) {
			w.insert("order", "1", "OrderCancelled", 2, nil,
				fmt.Appendf(nil, `{"order_id":"1","reason":"%s","cancelled_at":"2026-01-01T00:00:00Z"}`, strings.Repeat("x", 6<<20)))
		}, "EVENT_TOO_LARGE"},
		"no aggregate id": {func(w *world) {
			w.db.Exec(w.t, `alter table runnel.outbox drop constraint outbox_aggregate_id_valid`)
			w.insert("order", "", "OrderShipped", 2, nil, []byte(`{}`))
		}, "EVENT_WITHOUT_AGGREGATE_ID"},
		"headers that are not text": {func(w *world) {
			w.db.Exec(w.t, `alter table runnel.outbox drop constraint outbox_headers_flat`)
			w.db.Exec(w.t, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload, headers)
				values ('order', '1', 'OrderShipped', 2, '{"order_id":"1","carrier":"DHL","shipped_at":0}', '{"a":1}')`)
		}, "EVENT_HEADERS_INVALID"},
	} {
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
			if n := len(w.topic("order")); n != 50 {
				t.Errorf("%d events in the topic, want the 50 before the poison", n)
			}
			// Only a superuser can take the row away, and only from the log's
			// future: the pipeline stays halted at it.
			st = reaches(t, p, pipeline.Halted, test.code)
			if st.Run < 1 {
				t.Errorf("run %d", st.Run)
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
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(schemasDir)); err != nil {
		t.Fatal(err)
	}
	w.cfg.Schemas = dir
	w.init()
	p, _ := w.start()
	w.write(1, 20)
	w.caughtUp()
	w.insert("order", "1", "OrderReturned", 2, nil, []byte(`{"order_id":"1"}`))
	w.write(21, 20)
	reaches(t, p, pipeline.Halted, "EVENT_TYPE_UNKNOWN")
	avsc := `{"type":"record","name":"OrderReturned","aggregate":"order","fields":[{"name":"order_id","type":"string"}]}`
	if err := os.WriteFile(filepath.Join(dir, "OrderReturned.avsc"), []byte(avsc), 0o600); err != nil {
		t.Fatal(err)
	}
	reaches(t, p, pipeline.Streaming, "")
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

// TestSecondDaemonWaits: it names the holder, and takes over when that is gone.
func TestSecondDaemonWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	first := w.spawn()
	w.write(1, 500)
	w.caughtUp()
	p, _ := w.start()
	st := reaches(t, p, pipeline.Waiting, "SLOT_BUSY")
	if !strings.Contains(st.Message, "pid") {
		t.Errorf("message %q does not name the holder", st.Message)
	}
	w.write(501, 500)
	first.killAfter(t, 1)
	reaches(t, p, pipeline.Streaming, "")
	w.complete("order")
}

// TestSlotDropped: a slot that is gone is not made anew in silence.
func TestSlotDropped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	_, stop := w.start()
	w.write(1, 100)
	w.complete("order")
	stop()
	w.db.Exec(t, `select pg_drop_replication_slot($1)`, w.cfg.Slot)
	p, _ := w.start()
	reaches(t, p, pipeline.Halted, "SLOT_MISSING")
}

// TestTopicDeleted: a topic that was deleted is not filled from the middle in
// silence, also not when it is made anew.
func TestTopicDeleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	_, stop := w.start()
	w.write(1, 100)
	w.complete("order")
	pgtest.Eventually(t, 20*time.Second, func() bool {
		return pgtest.Value[int](t, w.db, `select coalesce(sum(ordinal), 0)::int from runnel.progress_partition`) == 100
	}, "progress saved")
	stop()
	pulsartest.Admin(t, http.MethodDelete, "/admin/v2/persistent/"+w.cfg.Namespace+"/order/partitions?force=true", nil)
	p, _ := w.start()
	w.write(101, 20)
	reaches(t, p, pipeline.Halted, "TOPIC_TRUNCATED")
	if n := len(w.topic("order")); n != 0 {
		t.Errorf("%d events in the topic made anew", n)
	}
}

// TestSlotMadeByHand: what a slot made by hand skipped is noticed, and stays
// noticed over restarts.
func TestSlotMadeByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	_, stop := w.start()
	w.write(1, 100)
	w.complete("order")
	stop()
	w.write(101, 10)
	w.db.Exec(t, `select pg_drop_replication_slot($1)`, w.cfg.Slot)
	w.db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, w.cfg.Slot)
	for range 2 {
		p, stop := w.start()
		w.write(111, 10)
		st := reaches(t, p, pipeline.Halted, "SLOT_GAP")
		if !strings.Contains(st.Message, "10 committed events") {
			t.Errorf("message %q, want the 10 events that were skipped", st.Message)
		}
		stop()
	}
}

// TestRoutesChange: allowed when all is confirmed, else it halts.
func TestRoutesChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	_, stop := w.start()
	w.write(1, 100)
	w.complete("order")
	stop()

	// Killed with events published and not confirmed.
	next := 101
	for unconfirmed := false; !unconfirmed; next += 5000 {
		w.write(next, 5000)
		w.spawn().killAfter(t, 1000)
		unconfirmed = pgtest.Value[bool](t, w.db, `select confirmed_flush_lsn < pg_current_wal_insert_lsn() - 64
			from pg_replication_slots where slot_name = $1`, w.cfg.Slot)
	}
	w.cfg.Routes = []router.RouteRule{{Type: "OrderShipped", Topic: "shipped"}}
	p, stop := w.start()
	pgtest.Eventually(t, 60*time.Second, func() bool {
		st := p.Status()
		return st.Code == "ROUTES_CHANGED" || st.Published > 0
	}, "the changed routes noticed")
	if st := p.Status(); st.Code != "ROUTES_CHANGED" {
		t.Fatalf("state %s %s, %d published under the new routes", st.State, st.Code, st.Published)
	}
	stop()

	w.cfg.Routes = nil
	_, stop = w.start()
	w.complete("order")
	stop()
	w.cfg.Routes = []router.RouteRule{{Type: "OrderShipped", Topic: "shipped"}}
	p, _ = w.start()
	reaches(t, p, pipeline.Streaming, "")
	w.write(next, 100)
	w.caughtUp()
	if n := len(w.topic("shipped")); n != 100 {
		t.Errorf("%d events in the new topic, want 100", n)
	}
}

// TestPoisonIsNotRerouted: what was published before a poison event is not
// published again to another topic because the routes were changed for it.
func TestPoisonIsNotRerouted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	w.cfg.Routes = []router.RouteRule{{Aggregate: "order", Topic: "first"}}
	w.db.Exec(t, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload) values
		('order', '1', 'OrderShipped', 2, '{"order_id":"1","carrier":"DHL","shipped_at":0}'), ('order', '1', 'OrderShipped', 2, '{}')`)
	p, stop := w.start()
	reaches(t, p, pipeline.Halted, "EVENT_UNENCODABLE")
	pgtest.Eventually(t, 20*time.Second, func() bool { return len(w.topic("first")) == 1 }, "the good event published")
	stop()
	w.cfg.Routes = []router.RouteRule{{Aggregate: "order", Topic: "second"}}
	p, _ = w.start()
	reaches(t, p, pipeline.Halted, "ROUTES_CHANGED")
	if n := len(w.topic("second")); n != 0 {
		t.Errorf("%d events in the second topic", n)
	}
}

// TestTopicNotPartitioned: one that Runnel did not make is refused.
func TestTopicNotPartitioned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	if _, err := w.client.EnsureNamespace(t.Context(), w.cfg.Namespace, broker.NamespacePolicy{}); err != nil {
		t.Fatal(err)
	}
	pulsartest.Admin(t, http.MethodPut, "/admin/v2/persistent/"+w.cfg.Namespace+"/order", nil)
	p, _ := w.start()
	st := reaches(t, p, pipeline.Halted, "TOPIC_MISSING")
	if !strings.Contains(st.Message, "not partitioned") {
		t.Errorf("message %q", st.Message)
	}
}

// TestBrokenCatalog: wrong input found at the start ends the process.
func TestBrokenCatalog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	w.cfg.Schemas = t.TempDir()
	for file, want := range map[string]string{
		`{"type":"record","name":"A","fields":[]}`: "CATALOG_WITHOUT_EVENTS",
		`{"type":"record","name":"A","fields":[}`:  "SCHEMA_SYNTAX",
	} {
		if err := os.WriteFile(filepath.Join(w.cfg.Schemas, "A.avsc"), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := pipeline.New(w.cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestInterrupted: connections cut on either side cost nothing.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	p, _ := w.start()
	for i := range 4 {
		w.write(1+i*3000, 3000)
		switch i {
		case 0, 2:
			w.db.Exec(t, `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active`, w.cfg.Slot)
		case 1:
			for n := range 4 {
				pulsartest.Admin(t, http.MethodPut, fmt.Sprintf("/admin/v2/persistent/%s/order-partition-%d/unload", w.cfg.Namespace, n), nil)
			}
		}
	}
	w.complete("order")
	if st := p.Status(); st.Run < 2 {
		t.Errorf("run %d: nothing was interrupted", st.Run)
	}
}

// TestNotApplied: without --auto-apply nothing is created.
func TestNotApplied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.AutoApply = false
	w.init()
	p, _ := w.start()
	reaches(t, p, pipeline.Halted, "NAMESPACE_POLICY")
	if _, err := w.client.EnsureNamespace(t.Context(), w.cfg.Namespace, broker.NamespacePolicy{}); err != nil {
		t.Fatal(err)
	}
	p, _ = w.start()
	st := reaches(t, p, pipeline.Halted, "SCHEMAS_NOT_APPLIED")
	if !strings.Contains(st.Remedy, "--auto-apply") {
		t.Errorf("remedy %q", st.Remedy)
	}
}

// TestHTTP: health, readiness, status and metrics.
func TestHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	d := w.spawn()
	w.write(1, 100)
	w.caughtUp()
	get := func(path string) (int, string) {
		request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+d.address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(body)
	}
	if code, body := get("/healthz"); code != 200 || body != "ok\n" {
		t.Errorf("/healthz: %d %q", code, body)
	}
	if code, _ := get("/readyz"); code != 200 {
		t.Errorf("/readyz: %d", code)
	}
	var st pipeline.Status
	pgtest.Eventually(t, 10*time.Second, func() bool {
		_, body := get("/status")
		return json.Unmarshal([]byte(body), &st) == nil && st.Published == 100
	}, "100 events in the status")
	_, metrics := get("/metrics")
	for _, want := range []string{`runnel_published_events_total{topic="order"} 100`, "runnel_wal_lag_bytes ",
		"runnel_oldest_unpublished_seconds 0", "runnel_in_flight_events 0", `runnel_state_info{state="streaming"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
}
