package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/internal/walwatch"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

const placed = `{"type": "record", "name": "Placed", "aggregate": "order", "fields": [{"name": "id", "type": "string"}]}`

// folder writes a catalog.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i, text := range files {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.avsc", i)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// configure loads a configuration for a database and the test's own namespace.
func configure(t *testing.T, url, namespace, schemas string) *config.Config {
	t.Helper()
	t.Chdir(t.TempDir())
	environ := []string{"RUNNEL_POSTGRES_URL=" + url, "RUNNEL_SCHEMAS=" + schemas}
	if namespace != "" {
		environ = append(environ, "RUNNEL_PULSAR_URL="+pulsartest.URL(t), "RUNNEL_PULSAR_ADMIN_URL="+pulsartest.AdminURL(t),
			"RUNNEL_TOPICS_NAMESPACE="+namespace)
	}
	cfg, err := config.Load(config.Options{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// initialise makes the outbox with roles of the test's own.
func initialise(t *testing.T, db *pgtest.DB, dir string) {
	t.Helper()
	catalog, err := wire.Catalog(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = outbox.Init(t.Context(), db.Conn(t), outbox.InitOptions{
		Roles:      outbox.Roles{Owner: db.Role("owner"), Writer: db.Role("writer"), Daemon: db.Role("daemon")},
		EventTypes: catalog.Events(),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A healthy set-up passes; then each thing that is broken is found by its own
// check, under its code, with a remedy.
func TestPostgresChecks(t *testing.T) {
	db := pgtest.New(t)
	dir := folder(t, placed)
	cfg := configure(t, db.URL(), "", dir)
	expect := func(cfg *config.Config, name string, status Status, code, text string) {
		t.Helper()
		report, err := Run(t.Context(), cfg, name)
		if err != nil {
			t.Fatal(err)
		}
		r := find(t, report, name)
		if r.Status != status || r.Code != code || !strings.Contains(r.Message+r.Remedy, text) || (status == Fail) != (r.Remedy != "" && r.Status == Fail) {
			t.Errorf("%+v; want %s %s with %q", r, status, code, text)
		}
	}

	expect(cfg, "outbox", Fail, "PG_NO_OUTBOX", "runnel init")
	initialise(t, db, dir)
	report, err := Run(t.Context(), cfg, "postgres", "postgres-version", "wal-level", "replication-right", "walsenders",
		"outbox", "grants", "publication", "default-partition", "slot", "wal-retention", "wal-limits", "catalog", "event-types")
	if err != nil || report.Count(Pass) != 14 {
		t.Fatalf("%v: %+v", err, report)
	}

	// Rights.
	plain := configure(t, db.CreateRole(t, "plain"), "", dir)
	db.Exec(t, "grant usage on schema runnel to "+db.Role("plain")+"; grant select on runnel.schema_version to "+db.Role("plain"))
	expect(plain, "replication-right", Fail, "PG_NO_REPLICATION", `ALTER ROLE "`+db.Role("plain")+`" REPLICATION;`)
	expect(plain, "grants", Fail, "PG_GRANT", `GRANT SELECT ON TABLE runnel.outbox TO "`+db.Role("plain")+`";`)
	db.Exec(t, `alter role "`+db.Role("daemon")+`" password 'of-a-test'`)
	daemon := configure(t, db.URLAs(db.Role("daemon"), "of-a-test"), "", dir)
	expect(daemon, "grants", Pass, "", "daemon's rights")
	for _, right := range []string{ // of what runs only now and then, too
		"select on table runnel.control", "select on table runnel.watched", "execute on function runnel.adopt_default()",
		"execute on function runnel.register_event_types(text[], text[], bytea[])",
	} {
		db.Exec(t, "revoke "+right+" from "+db.Role("daemon"))
		expect(daemon, "grants", Fail, "PG_GRANT", right[strings.Index(right, "runnel."):]+` TO "`+db.Role("daemon")+`";`)
		db.Exec(t, "grant "+right+" to "+db.Role("daemon"))
	}
	wrong := configure(t, strings.Replace(db.URL(), db.Name(), "no_such_database", 1), "", dir)
	expect(wrong, "postgres", Fail, "PG_NO_DATABASE", "does not exist")

	// The catalog.
	expect(configure(t, db.URL(), "", folder(t, "{")), "catalog", Fail, "SCHEMA_SYNTAX", "")
	more := configure(t, db.URL(), "", folder(t, placed, strings.Replace(placed, "Placed", "Paid", 1)))
	expect(more, "event-types", Fail, "EVENT_TYPES_MISSING", "Paid")

	// The default partition.
	db.Exec(t, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload, inserted_at)
		values ('order', '1', 'Placed', 2, '{}', now() + interval '1 year')`)
	expect(cfg, "default-partition", Warn, "DEFAULT_PARTITION_USED", "Nothing is lost")

	// The publication.
	db.Exec(t, "alter publication runnel set (publish = 'insert, update')")
	expect(cfg, "publication", Fail, "PG_PUBLICATION", `ALTER PUBLICATION "runnel" SET (publish = 'insert'`)
	for table, text := range map[string]string{
		"runnel.outbox where (seq > 5), runnel.control": "row filter", "runnel.outbox (seq), runnel.control": "column list",
	} {
		db.Exec(t, "alter publication runnel set (publish = 'insert'); alter publication runnel set table "+table)
		expect(cfg, "publication", Fail, "PG_PUBLICATION", text)
	}
	db.Exec(t, "alter publication runnel set table runnel.outbox, runnel.control; alter publication runnel drop table runnel.outbox")
	expect(cfg, "publication", Fail, "PG_PUBLICATION", "SET TABLE runnel.outbox, runnel.control")
	db.Exec(t, "drop publication runnel")
	expect(cfg, "publication", Fail, "PG_PUBLICATION", "does not exist")

	// The schema's version.
	db.Exec(t, "insert into runnel.schema_version (version, name) values (9999, 'future')")
	expect(cfg, "outbox", Warn, "OUTBOX_VERSION", "9999")
	db.Exec(t, "delete from runnel.schema_version where version > 1")
	expect(cfg, "outbox", Fail, "OUTBOX_VERSION", "runnel init")
}

func TestSlotChecks(t *testing.T) {
	db := pgtest.New(t)
	dir := folder(t, placed)
	initialise(t, db, dir)
	cfg := configure(t, db.URL(), "", dir)
	cfg.Capture.Slot, cfg.HTTP = db.Slot("s"), config.HTTPOff
	expect := func(status Status, code string) {
		t.Helper()
		report, err := Run(t.Context(), cfg, "slot", "wal-retention")
		if err != nil {
			t.Fatal(err)
		}
		if r := find(t, report, "slot"); r.Status != status || r.Code != code {
			t.Errorf("%+v; want %s %s", r, status, code)
		}
	}
	expect(Pass, "") // the first run makes it
	db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", cfg.Capture.Slot)
	expect(Warn, "SLOT_IDLE")
	db.Exec(t, "insert into runnel.pipeline (name, slot, system_id) values ($1, 'other', '1')", cfg.Name)
	expect(Fail, "SLOT_MISMATCH")
	db.Exec(t, "update runnel.pipeline set slot = $1", cfg.Capture.Slot)
	expect(Warn, "SLOT_IDLE")
	// Nobody streams because the daemon is halted: starting one would not help.
	cfg.HTTP = serve(t, pipeline.Status{Pipeline: cfg.Name, State: pipeline.Halted, Code: "SLOT_GAP", Message: "rows are missing", Remedy: "Repair."})
	report, err := Run(t.Context(), cfg, "slot", "daemon")
	if err != nil {
		t.Fatal(err)
	}
	if r := find(t, report, "slot"); r.Code != "SLOT_IDLE" || strings.Contains(r.Remedy, "runnel run") || !strings.Contains(r.Remedy, "the check `daemon`") {
		t.Errorf("%+v", r)
	}
	if r := find(t, report, "daemon"); r.Status != Fail || r.Code != "SLOT_GAP" || r.Remedy != "Repair." {
		t.Errorf("%+v", r)
	}
	db.Exec(t, "select pg_drop_replication_slot($1)", cfg.Capture.Slot)
	expect(Fail, "SLOT_MISSING")
	db.Exec(t, "select pg_create_physical_replication_slot($1)", cfg.Capture.Slot)
	expect(Fail, "SLOT_FOREIGN")

	// What only the pipeline's record tells of a slot that is there.
	db.Exec(t, "select pg_drop_replication_slot($1)", cfg.Capture.Slot)
	db.Exec(t, "update runnel.pipeline set consistent_point = '0/1', snapshot = pg_current_snapshot(), settled_epoch = 1")
	expect(Fail, "SLOT_MISSING")
	db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", cfg.Capture.Slot)
	expect(Fail, "EPOCH_CHANGED")
	db.Exec(t, "update runnel.pipeline set system_id = (select system_identifier::text from pg_control_system())")
	expect(Warn, "SLOT_IDLE")
	db.Exec(t, "update runnel.pipeline set damage = 'repair'")
	expect(Fail, "REPAIR_UNFINISHED")
	db.Exec(t, "update runnel.pipeline set damage = null, slot_limit = '0/1'")
	expect(Warn, "SLOT_IDLE") // of an era that is not recorded nothing is known
	db.Exec(t, "insert into runnel.epoch (epoch, system_id, timeline, begin_lsn) select 1, system_identifier::text, 1, '0/0' from pg_control_system()")
	expect(Fail, "SLOT_MOVED")
}

func TestPulsarChecks(t *testing.T) {
	db := pgtest.New(t)
	dir := folder(t, placed)
	initialise(t, db, dir)
	namespace := pulsartest.NamespaceName(t)
	cfg := configure(t, db.URL(), namespace, dir)
	expect := func(name string, status Status, code, text string) {
		t.Helper()
		report, err := Run(t.Context(), cfg, name)
		if err != nil {
			t.Fatal(err)
		}
		if r := find(t, report, name); r.Status != status || r.Code != code || !strings.Contains(r.Message+r.Remedy, text) {
			t.Errorf("%+v; want %s %s with %q", r, status, code, text)
		}
	}
	client, err := broker.Dial(t.Context(), wire.Broker(cfg))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	expect("pulsar", Pass, "", cfg.Pulsar.URL)
	expect("pulsar-admin", Pass, "", "healthy")
	expect("namespace", Fail, "NAMESPACE_POLICY", "pulsar-admin namespaces create "+namespace)
	if _, err := client.EnsureNamespace(t.Context(), namespace, broker.NamespacePolicy{}); err != nil {
		t.Fatal(err)
	}
	expect("namespace", Pass, "", namespace)
	expect("topics", Fail, "TOPIC_MISSING", "schemas apply")
	topic := wire.TopicName(cfg.Topics.Namespace, "order")
	if _, err := client.EnsureTopic(t.Context(), topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	expect("topics", Fail, "TOPIC_MISSING", "runnel-history-")
	if _, err := client.EnsureTopic(t.Context(), wire.TopicName(cfg.Topics.Namespace, history.Topic(cfg.Name)), 1, nil); err != nil {
		t.Fatal(err)
	}
	expect("topics", Pass, "", "order (2 partitions), runnel-history-")
	expect("former-topics", Pass, "", "0 topics of former routes")
	former := wire.TopicName(cfg.Topics.Namespace, "former")
	for _, name := range []string{topic, former} {
		db.Exec(t, `insert into runnel.progress_partition (pipeline, topic, partition, position, ordinal) values ($1, $2, 0, '', 0)`, cfg.Name, name)
	}
	expect("former-topics", Warn, "FORMER_TOPIC_MISSING", former)
	if _, err := client.EnsureTopic(t.Context(), former, 1, nil); err != nil {
		t.Fatal(err)
	}
	expect("former-topics", Pass, "", "1 topic of former routes")
	path := "/admin/v2/persistent/" + namespace + "/order/deduplicationEnabled"
	pulsartest.Admin(t, "POST", path, false)
	pgtest.Eventually(t, 20*time.Second, func() bool { // the broker reads policies from a topic
		report, err := Run(t.Context(), cfg, "topics")
		return err == nil && find(t, report, "topics").Status == Fail
	}, "the topic's policy")
	expect("topics", Fail, "DEDUPLICATION_OFF", "Run `pulsar-admin topicPolicies set-deduplication "+topic+" --enable`.")
	pulsartest.Admin(t, "POST", path, true)
	expect("topic-schemas", Fail, "SCHEMAS_NOT_APPLIED", "Placed")
	catalog, err := wire.Catalog(dir)
	if err != nil {
		t.Fatal(err)
	}
	composed, err := schemas.Compose("order", catalog.Events(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := schemas.NewRegistry(client.AdminURL(), client.HTTP()).Register(t.Context(), topic, composed); err != nil {
		t.Fatal(err)
	}
	expect("topic-schemas", Pass, "", "1 event of the catalog")
	pulsartest.Admin(t, "POST", "/admin/v2/namespaces/"+namespace+"/deduplication", false)
	expect("namespace", Fail, "NAMESPACE_POLICY", "set-deduplication")
	cfg.Pulsar.AdminURL = "http://127.0.0.1:1"
	expect("pulsar-admin", Fail, "PULSAR_UNREACHABLE", "")
	cfg.Pulsar.URL = "pulsar://127.0.0.1:1"
	expect("pulsar", Fail, "PULSAR_UNREACHABLE", "")
	cfg.Pulsar.URL = ""
	expect("pulsar", Fail, "CONFIG_MISSING", "--pulsar")
}

// What takes a server of its own: its limits, and a slot that is lost by them.
func TestWALChecks(t *testing.T) {
	major := pgtest.Value[int](t, pgtest.New(t), "select current_setting('server_version_num')::int") / 10000
	options := devstack.Options{Postgres: true, PGVersion: strconv.Itoa(major)}
	if err := devstack.Installed(t.Context(), options); err != nil {
		t.Skip(err) // the shared server is another machine's
	}
	db := pgtest.NewOn(t, stacktest.Up(t, options).PostgresURL)
	dir := folder(t, placed)
	initialise(t, db, dir)
	cfg := configure(t, db.URL(), "", dir)
	cfg.Capture.Slot, cfg.HTTP = db.Slot("s"), config.HTTPOff
	expect := func(name string, status Status, code, text string) {
		t.Helper()
		report, err := Run(t.Context(), cfg, name)
		if err != nil {
			t.Fatal(err)
		}
		if r := find(t, report, name); r.Status != status || r.Code != code || !strings.Contains(r.Message+r.Remedy, text) {
			t.Errorf("%+v; want %s %s with %q", r, status, code, text)
		}
	}
	set := func(name, value string) {
		t.Helper()
		db.Exec(t, "alter system set "+name+" = '"+value+"'")
		db.Exec(t, "select pg_reload_conf()")
		pgtest.Eventually(t, 20*time.Second, func() bool {
			return pgtest.Value[bool](t, db, "select current_setting($1) = $2", name, value)
		}, "%s is %s", name, value)
	}
	expect("wal-limits", Pass, "", "at most 32GiB")
	expect("wal-retention", Pass, "", "not there yet")
	set("max_slot_wal_keep_size", "-1")
	expect("wal-limits", Warn, "WAL_UNLIMITED", "the disk fills")
	set("max_slot_wal_keep_size", "64MB")
	if major >= 18 {
		set("idle_replication_slot_timeout", "1h")
		expect("wal-limits", Warn, "SLOT_IDLE_TIMEOUT", "SET idle_replication_slot_timeout = 0;")
	}
	db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", cfg.Capture.Slot)
	expect("wal-retention", Pass, "", "of WAL kept")
	for range 3 {
		db.Exec(t, "select pg_logical_emit_message(true, 'test', repeat('x', 16 << 20))")
	}
	expect("wal-retention", Warn, "SLOT_AT_RISK", "can be lost when")
	set("max_slot_wal_keep_size", "1MB")
	expect("wal-retention", Warn, "SLOT_AT_RISK", "unreserved")
	db.Exec(t, "checkpoint")
	expect("slot", Fail, "SLOT_LOST", "wal_removed")
	expect("slot", Fail, "SLOT_LOST", "SET max_slot_wal_keep_size")
	expect("wal-retention", Skip, "", "needs slot")
}

// Several warnings of a check are told together, with all remedies.
func TestWarningsOfACheck(t *testing.T) {
	err := warn([]*fault.Error{walwatch.ErrSlotAtRisk.New("one").Fix("Do this."), walwatch.ErrHeldByTransaction.New("two").Fix("Do that.")})
	e := fault.Find(err)
	if e == nil || e.Code != walwatch.ErrSlotAtRisk || e.Message != "one; two" || e.WhatToDo() != "Do this.\nDo that." {
		t.Errorf("%v", err)
	}
}
