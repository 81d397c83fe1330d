package pipeline_test

import (
	"fmt"
	"log/slog"
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
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/schemas"
)

// catalogWith is the quickstart's catalog and further events, by the aggregates'
// names.
func catalogWith(t *testing.T, events map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(schemasDir)); err != nil {
		t.Fatal(err)
	}
	for name, aggregate := range events {
		addEvent(t, dir, name, aggregate)
	}
	return dir
}

// addEvent adds an event with the field "id" to a catalog.
func addEvent(t *testing.T, dir, name, aggregate string) {
	t.Helper()
	avsc := fmt.Sprintf(`{"type":"record","name":%q,"aggregate":%q,"fields":[{"name":"id","type":"string"}]}`, name, aggregate)
	if err := os.WriteFile(filepath.Join(dir, name+".avsc"), []byte(avsc), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newest returns the newest schema that is registered for a topic.
func (w *world) newest(local string) *schemas.TopicSchema {
	w.t.Helper()
	registry := schemas.NewRegistry(w.client.AdminURL(), w.client.HTTP())
	versions, err := registry.Versions(w.t.Context(), wire.TopicName(w.cfg.Namespace, local))
	if err != nil {
		w.t.Fatal(err)
	}
	if len(versions) == 0 {
		w.t.Fatalf("no schema is registered for %s", local)
	}
	return versions[len(versions)-1]
}

// TestProvisionedBesideADaemon: what an added event needs is made while another
// daemon streams, by one that then stands by; what is there stays as it is.
func TestProvisionedBesideADaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	_, stop := w.start()
	w.write(1, 50)
	w.caughtUp()

	w.cfg.Schemas = catalogWith(t, map[string]string{"OrderReturned": "order", "InvoiceSent": "invoice"})
	w.cfg.Retention = time.Hour
	standby, stopStandby := w.start()
	reaches(t, standby, pipeline.Waiting, "SLOT_BUSY")
	if _, ok := w.newest("order").Event("OrderReturned"); !ok {
		t.Error("the added event is not in its topic's schema")
	}
	if n, err := w.client.Partitions(t.Context(), wire.TopicName(w.cfg.Namespace, "invoice")); n != 4 || err != nil {
		t.Errorf("the added topic has %d partitions: %v", n, err)
	}
	if n := pgtest.Value[int](t, w.db, `select count(*) from runnel.event_type where name in ('OrderReturned', 'InvoiceSent')`); n != 2 {
		t.Errorf("%d of the 2 added events are registered in the database", n)
	}
	if differ, err := w.client.CheckNamespace(t.Context(), w.cfg.Namespace, broker.NamespacePolicy{}); len(differ) > 0 || err != nil {
		t.Errorf("the namespace was changed under the daemon that streams: %+v %v", differ, err)
	}
	stopStandby()
	stop()

	w.cfg.AutoApply = false
	p, _ := w.start()
	reaches(t, p, pipeline.Streaming, "")
	w.db.Exec(t, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
		values ('order', '1', 'OrderReturned', 2, '{"id":"1"}')`)
	w.complete("order")
}

// TestPolicyBesideADaemon: a policy that must be changed is left alone, and the
// remedy is none that would do nothing.
func TestPolicyBesideADaemon(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	w.start()
	w.write(1, 10)
	w.caughtUp()
	policy := "/admin/v2/namespaces/" + w.cfg.Namespace + "/isAllowAutoUpdateSchema"
	pulsartest.Admin(t, http.MethodPost, policy, true)
	standby, _ := w.start()
	st := reaches(t, standby, pipeline.Halted, "NAMESPACE_POLICY")
	for _, want := range []string{"pulsar-admin namespaces set-is-allow-auto-update-schema", "pid"} {
		if !strings.Contains(st.Remedy, want) {
			t.Errorf("remedy %q, want it to hold %q", st.Remedy, want)
		}
	}
	pulsartest.Admin(t, http.MethodPost, policy, false)
	reaches(t, standby, pipeline.Waiting, "SLOT_BUSY")
}

// TestProvisionersTakeTurns: of several that add an event each to one topic none
// overwrites another's.
func TestProvisionersTakeTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	var all []*pipeline.Pipeline
	const n = 4
	for i := range n {
		w.cfg.Schemas = catalogWith(t, map[string]string{fmt.Sprintf("Extra%d", i): "order"})
		p, _ := w.start()
		all = append(all, p)
	}
	for _, p := range all {
		pgtest.Eventually(t, 60*time.Second, func() bool {
			st := p.Status()
			return st.State == pipeline.Streaming || st.Code == "SLOT_BUSY"
		}, "all provisioned")
	}
	newest := w.newest("order")
	for i := range n {
		if _, ok := newest.Event(fmt.Sprintf("Extra%d", i)); !ok {
			t.Errorf("the newest schema of the topic lacks Extra%d", i)
		}
	}
}

// TestProvisionerStopped: one that was stopped amid its work holds nobody up who
// misses nothing.
func TestProvisionerStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	_, stop := w.start()
	w.write(1, 10)
	w.caughtUp()
	stop()
	stopped := w.db.Conn(t)
	if _, err := stopped.Exec(t.Context(), "select pg_advisory_lock(1381322316, 4)"); err != nil {
		t.Fatal(err)
	}
	p, _ := w.start()
	reaches(t, p, pipeline.Streaming, "")
	w.complete("order")
}

// TestOutboxVersion: an outbox that is older than the daemon needs halts it until
// `runnel init` has run; with a newer one it goes on, so that init may come first.
func TestOutboxVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	log := &logged{testWriter: testWriter{t}}
	w.cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	w.init()
	_, stop := w.start()
	w.write(1, 10)
	w.caughtUp()
	stop()

	w.cfg.AutoApply = false
	w.db.Exec(t, `create table kept as select * from runnel.schema_version where version = (select max(version) from runnel.schema_version)`)
	w.db.Exec(t, `delete from runnel.schema_version where version = (select version from kept)`)
	p, stop := w.start()
	w.write(11, 10)
	st := reaches(t, p, pipeline.Halted, "OUTBOX_VERSION")
	if !strings.Contains(st.Remedy, "`runnel init` with this binary") {
		t.Errorf("remedy %q", st.Remedy)
	}
	w.db.Exec(t, `insert into runnel.schema_version select * from kept`)
	reaches(t, p, pipeline.Streaming, "")
	w.complete("order")
	stop()

	w.db.Exec(t, `insert into runnel.schema_version (version, name) values (9999, 'future')`)
	p, _ = w.start()
	w.write(21, 10)
	reaches(t, p, pipeline.Streaming, "")
	w.complete("order")
	if !strings.Contains(log.String(), "the outbox has version 9999") {
		t.Error("the log does not say that the outbox is newer")
	}
}
