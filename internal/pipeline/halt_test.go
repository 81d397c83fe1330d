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
	"github.com/runnel-cdc/runnel/schemas"
)

// reaches waits until the pipeline is in a state, with a code, and logs how long it took.
func reaches(t *testing.T, p *pipeline.Pipeline, state, code string) pipeline.Status {
	t.Helper()
	asked := time.Now()
	var st pipeline.Status
	pgtest.Eventually(t, 60*time.Second, func() bool {
		st = p.Status()
		return st.State == state && st.Code == code
	}, "state "+state+" "+code)
	t.Logf("%s %s within %s", state, code, time.Since(asked).Round(time.Millisecond))
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
	w, _, stop := newPublished(t)
	stop()
	w.db.Exec(t, `select pg_drop_replication_slot($1)`, w.cfg.Slot)
	w.cfg.Recheck = time.Second
	p, _ := w.start()
	reaches(t, p, pipeline.Halted, "SLOT_MISSING")
	pgtest.Eventually(t, 20*time.Second, func() bool { return p.Status().Run > 2 }, "it looks again")
	pgtest.Eventually(t, 20*time.Second, func() bool {
		next := p.Status().NextRun
		return next != nil && time.Until(*next) < w.cfg.Recheck
	}, "it says when it looks again")
	if st := p.Status(); st.LagBytes != nil {
		t.Errorf("%d bytes behind, without a slot", *st.LagBytes)
	}
}

// TestLagAfterRestart: what was written while no daemon was there is not taken for nothing, as
// long as nothing of it is read.
func TestLagAfterRestart(t *testing.T) {
	t.Parallel()
	w, first, stop := newPublished(t)
	w.caughtUp()
	known := func(p *pipeline.Pipeline) bool {
		st := p.Status()
		return st.LagBytes != nil && st.OldestSeconds != nil && *st.OldestSeconds == 0
	}
	pgtest.Eventually(t, 20*time.Second, func() bool { return known(first) }, "nothing waits")
	stop()
	w.write(101, 100)
	tx, err := w.db.Conn(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), `lock table runnel.progress`)
	}
	if err != nil {
		t.Fatal(err)
	}
	p, _ := w.start()
	pgtest.Eventually(t, 20*time.Second, func() bool {
		return pgtest.Value[bool](t, w.db, `select exists (select from pg_locks where not granted and relation = 'runnel.progress'::regclass)`)
	}, "the daemon waits for the saved progress")
	if st := p.Status(); st.State != pipeline.Starting || st.OldestSeconds != nil || st.LagBytes != nil {
		t.Errorf("%+v", st)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.caughtUp()
	pgtest.Eventually(t, 20*time.Second, func() bool { return known(p) }, "nothing waits")
	if next := p.Status().NextRun; next != nil {
		t.Errorf("it streams, and tries again at %s", next)
	}
}

// TestSlotMadeByHand: what a slot made by hand skipped is noticed before anything behind
// it is published, and stays noticed over restarts.
func TestSlotMadeByHand(t *testing.T) {
	t.Parallel()
	w, _, stop := newPublished(t)
	stop()
	w.write(101, 10)
	w.db.Exec(t, `select pg_drop_replication_slot($1)`, w.cfg.Slot)
	w.db.Exec(t, `select pg_create_logical_replication_slot($1, 'pgoutput')`, w.cfg.Slot)
	for range 2 {
		p, stop := w.start()
		w.write(111, 10)
		reaches(t, p, pipeline.Halted, "SLOT_MOVED")
		stop()
	}
	if n := len(w.topic("order")); n != 100 {
		t.Errorf("the topic holds %d events", n)
	}

	// Of an older version's record nobody knows how far the slot may have come: it is
	// noticed once the stream has passed what it should have shown.
	w.db.Exec(t, `update runnel.pipeline set slot_limit = null`)
	p, stop := w.start()
	st := reaches(t, p, pipeline.Halted, "SLOT_GAP")
	if !strings.Contains(st.Message, "10 committed events") {
		t.Errorf("message %q, want the 10 events that were skipped", st.Message)
	}
	stop()
	n := len(w.topic("order"))
	w.write(131, 10)
	p, stop = w.start()
	reaches(t, p, pipeline.Halted, "SLOT_GAP")
	stop()
	if again := len(w.topic("order")); again != n {
		t.Errorf("the topic held %d events, and holds %d", n, again)
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
	reaches(t, p, pipeline.Streaming, "")
	for i := range 4 {
		w.write(1+i*3000, 3000)
		switch i {
		case 0, 2:
			pgtest.Eventually(t, 60*time.Second, func() bool {
				return pgtest.Value[int](t, w.db, `select count(pg_terminate_backend(active_pid))::int from pg_replication_slots where slot_name = $1 and active`, w.cfg.Slot) == 1
			}, "the walsender is ended")
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
	var metrics string
	pgtest.Eventually(t, 30*time.Second, func() bool { // until then it is not known
		_, metrics = get("/metrics")
		return strings.Contains(metrics, "\nrunnel_oldest_unpublished_seconds ")
	}, "that nothing waits")
	for _, want := range []string{`runnel_published_events_total{topic="order"} 100`, "runnel_wal_lag_bytes ",
		"runnel_oldest_unpublished_seconds 0", "runnel_in_flight_events 0", `runnel_state_info{state="streaming"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
}
