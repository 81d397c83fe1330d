package securestack_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/examples/quickstart/fulfilment"
	"github.com/runnel-cdc/runnel/examples/quickstart/orders"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/readerstest/programs"
	"github.com/runnel-cdc/runnel/internal/securestack"
)

// enough is how many events are more than one of each kind.
const enough = 150

// The quickstart over TLS and tokens, set up as docs/security.md says: an orders
// service that may write to the outbox, a daemon that may produce and consume, a
// fulfilment service, a person and two readers in other languages that may
// consume. In the end all copies are equal.
func TestQuickstart(t *testing.T) {
	doc, p := security(t), newProgram(t)
	db, ns := pgtest.NewOn(t, stack.PostgresURL), "shop/runnel" // the document's
	secrets.add(superuserPassword())
	password := file(t, "postgres-password", []byte("the daemon's own\n"))
	secrets.add("the daemon's own")
	daemons := token(t, "runnel")
	schemas, err := filepath.Abs("../../examples/quickstart/schemas")
	if err != nil {
		t.Fatal(err)
	}
	address := listening(t)
	config := p.write("runnel.yaml", doc.daemonSettings(db, db.Role("daemon"), password, daemons.path)+fmt.Sprintf(`
schemas: %s
roles: {owner: %s, writer: %s, daemon: %s}
http: %s
log: {level: debug}
`, schemas, db.Role("owner"), db.Role("writer"), db.Role("daemon"), address))

	// Administrators: the database, then the broker.
	p.as("RUNNEL_POSTGRES_URL="+db.URL(), "RUNNEL_POSTGRES_PASSWORD_FILE="+file(t, "superuser", []byte(superuserPassword()))).
		run(0, "init", "--config", config)
	db.Exec(t, fmt.Sprintf("alter role %s password 'the daemon''s own'", db.Role("daemon")))
	doc.provision(p, token(t, securestack.Superuser).path)
	p.as("RUNNEL_PULSAR_TOKEN_FILE=" + token(t, "runnel-provisioner").path).apply(config)

	// The daemon and the two services.
	stop := p.daemon(address, "--config", config)
	copies := pgtest.NewOn(t, stack.PostgresURL)
	fulfil(t, copies, ns)
	work(t, db)
	total := pgtest.Value[int](t, db, "select count(*)::int from runnel.outbox")
	eventually(t, fmt.Sprintf("%d events in the copy", total), func() bool {
		passed, err := consumers.Positions(t.Context(), copies.Conn(t), fulfilment.Name)
		var sum uint64
		for _, at := range passed {
			sum += at.Ordinal
		}
		return err == nil && sum == uint64(total)
	})
	source := rows(t, db, "public.orders")
	if copied := rows(t, copies, "fulfilment.orders"); len(source) == 0 || !slices.Equal(copied, source) {
		t.Errorf("the copy in Go has %d orders that differ from the source's %d:\n%.2000q\n%.2000q", len(copied), len(source), copied, source)
	}
	t.Logf("%d events, %d orders", total, len(source))

	// A person, and the readers.
	reading := token(t, consumer)
	seen := p.as("RUNNEL_PULSAR_TOKEN_FILE="+reading.path).run(0, "tail", "--config", config, "--from", "earliest", "-o", "json")
	if n := strings.Count(seen, "\n"); n != total {
		t.Errorf("tail shows %d events of %d", n, total)
	}
	for name, command := range readers(t) {
		t.Run(name, func(t *testing.T) {
			r := exec.CommandContext(t.Context(), command[0], append(command[1:], filepath.Join(t.TempDir(), "copy.db"), "persistent://"+ns+"/order", "--until-idle")...)
			r.Env = append(slices.Clone(p.env), "RUNNEL_PULSAR_URL="+stack.PulsarURL, "RUNNEL_PULSAR_ADMIN_URL="+stack.PulsarAdminURL,
				"RUNNEL_PULSAR_CA_FILE="+stack.CAFile(), "RUNNEL_PULSAR_TOKEN_FILE="+reading.path)
			var errs bytes.Buffer
			r.Stderr = &errs
			out, err := r.Output()
			_, _ = fmt.Fprintf(&written, "%s%s\n", out, &errs)
			if err != nil {
				t.Fatalf("%v\n%s", err, &errs)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if copied := lines[:len(lines)-1]; !slices.Equal(copied, source) { // the last line has counts
				t.Errorf("the copy has %d orders that differ from the source's %d:\n%.2000q\n%.2000q", len(copied), len(source), copied, source)
			}
		})
	}
	if leak := secrets.leaked(arguments(t)); leak != "" {
		t.Errorf("a process has %q in its arguments", leak)
	}
	stop()
}

// work is the orders service, whose role is a member of the writers, until it
// has published enough.
func work(t *testing.T, db *pgtest.DB) {
	t.Helper()
	address := db.CreateRole(t, "service")
	db.Exec(t, fmt.Sprintf("grant %s to %s; grant create on schema public to %[2]s; set role %[2]s; %s; reset role",
		db.Role("writer"), db.Role("service"), orders.Schema))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var published atomic.Int64
	service := orders.Simulation{DB: pgtest.Pool(t, address), Pause: 5 * time.Millisecond, Seed: 1, Publishing: func(uuid.UUID) {
		if published.Add(1) == enough {
			cancel()
		}
	}}
	if err := service.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if published.Load() < enough {
		t.Fatalf("the orders service published %d events", published.Load())
	}
}

// fulfil runs the fulfilment service until the test ends. Its role owns nothing
// but its database, and its token may consume.
func fulfil(t *testing.T, db *pgtest.DB, namespace string) {
	t.Helper()
	address := db.CreateRole(t, "service")
	db.Exec(t, fmt.Sprintf("grant create on database %s to %s", db.Name(), db.Role("service")))
	b := as(t, consumer)
	projection, err := fulfilment.Projection(consumers.Config{
		Database: pgtest.Pool(t, address), Namespace: namespace, Logger: slog.New(slog.NewTextHandler(&written, nil)),
		Broker: consumers.BrokerConfig{URL: b.URL, AdminURL: b.AdminURL, CAFile: b.CAFile, TokenFile: b.TokenFile},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- projection.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// rows are a table of orders as the readers print them: a JSON array for each
// order, by id.
func rows(t *testing.T, db *pgtest.DB, table string) []string {
	t.Helper()
	lines, err := programs.Rows(t.Context(), db.Conn(t), `select id, customer_id::text, status, lines, total::text, currency,
		city, paid_by, carrier, tracking, reason from `+table+` order by id collate "C"`)
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// readers are the commands of examples/readers; none where their libraries are
// not there, unless servers are required.
func readers(t *testing.T) map[string][]string {
	t.Helper()
	const dir = "../../examples/readers"
	python, jars, err := programs.Libraries(t)
	if err != nil {
		t.Log("not tested:", err)
		return nil
	}
	// Given an address, Java's client looks up the name that belongs to it, and
	// verifies that. The servers' certificates hold the address.
	hosts := file(t, "hosts", []byte(securestack.Host+" "+securestack.Host+"\n"))
	return map[string][]string{
		"java":   {programs.JDK("java"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Djdk.net.hosts.file=" + hosts, "-cp", jars, filepath.Join(dir, "java/OrderReader.java")},
		"python": {python, filepath.Join(dir, "python/reader.py")},
	}
}
