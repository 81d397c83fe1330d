package securestack_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/demo"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/securestack"
)

// request finds the request behind "# or" that gives a duty its grant.
var request = regexp.MustCompile(`(?m)^ *# or (POST) /admin/v2(/namespaces/\S+) (\S+)$`)

// The commands with a role per duty: set up by administrators, run by a daemon
// that may produce and consume, read by someone who may consume. They tell what
// is missing, and no secret is in their output or their arguments.
func TestCommandsPerDuty(t *testing.T) {
	p := newProgram(t)
	db := pgtest.NewOn(t, stack.PostgresURL)
	password, super := "the daemon's password", superuserPassword()
	secrets.add(password)
	secrets.add(super)
	ns := namespaceName(t)
	http := listening(t)
	schemas, err := filepath.Abs("../../examples/quickstart/schemas")
	if err != nil {
		t.Fatal(err)
	}
	configure := func(duty, address, passwordFile, role string) string {
		tokens := token(t, role)
		return p.write(duty+".yaml", fmt.Sprintf(`
name: %s
schemas: %s
postgres:
  url: %q
  password_file: %s
pulsar:
  url: %s
  admin_url: %s
  token_file: %s
  ca_file: %s
topics: {namespace: %s}
roles: {owner: %s, writer: %s, daemon: %s}
http: %s
log: {level: debug}
`, db.Name(), schemas, address, passwordFile, stack.PulsarURL, stack.PulsarAdminURL, tokens.path, stack.CAFile(), ns,
			db.Role("owner"), db.Role("writer"), db.Role("daemon"), http))
	}
	passwords := p.write("password", password+"\n")
	setUp := configure("setup", db.URLAs("postgres"), p.write("superuser", super+"\n"), provisioner)
	source := db.URLAs(db.Role("daemon"))
	provision := configure("provision", source, passwords, provisioner)
	run := configure("run", source, passwords, daemon)
	read := configure("read", source, passwords, consumer)

	// Administrators: the database, then the broker.
	p.run(0, "init", "--config", setUp)
	db.Exec(t, fmt.Sprintf("alter role %s password %s", db.Role("daemon"), "'"+strings.ReplaceAll(password, "'", "''")+"'"))
	p.run(3, "schemas", "plan", "--config", run) // not the daemon's to do
	p.apply(provision)

	// The daemon's role has no grant yet, and the doctor prints what to do.
	var report struct {
		Result struct {
			Checks []struct{ Name, Status, Code, Message, Remedy string }
		}
	}
	diagnose := func(code int, config string) map[string]string {
		t.Helper()
		report.Result.Checks = nil
		if err := json.Unmarshal([]byte(p.run(code, "doctor", "--config", config, "-o", "json")), &report); err != nil {
			t.Fatal(err)
		}
		codes := map[string]string{}
		for _, c := range report.Result.Checks {
			codes[c.Name] = strings.TrimSpace(c.Status + " " + c.Code)
		}
		return codes
	}
	if got := diagnose(3, run)["broker-grants"]; got != "fail PULSAR_FORBIDDEN" {
		t.Errorf("without a grant: %s", got)
	}
	text := p.run(3, "doctor", "--config", run, "--check", "broker-grants")
	t.Log(text)
	requests := request.FindAllStringSubmatch(text, -1)
	if len(requests) != 2 {
		t.Fatalf("%d requests in:\n%s", len(requests), text)
	}
	for _, r := range requests {
		var actions []string
		if err := json.Unmarshal([]byte(r[3]), &actions); err != nil {
			t.Fatal(err)
		}
		admin(t, r[1], strings.Replace(r[2], "/ROLE", "/"+consumer, 1), actions)
	}

	// The daemon.
	stop := p.daemon(http, "--config", run)
	db.Exec(t, `select runnel.publish('order', n::text, 'OrderShipped',
		jsonb_build_object('order_id', n::text, 'carrier', 'DHL', 'shipped_at', now())) from generate_series(1, 50) n`)
	var seen string
	eventually(t, "a consumer to see 50 events", func() bool {
		seen = p.run(0, "tail", "--config", read, "--from", "earliest", "-o", "json")
		return strings.Count(seen, "\n") == 50
	})
	for duty, want := range map[string]map[string]string{
		run:       {"broker-grants": "pass", "namespace": "warn POLICIES_NOT_READ", "topics": "pass", "topic-schemas": "pass", "secret-files": "pass", "encryption": "pass", "slot": "pass"},
		provision: {"broker-grants": "pass", "namespace": "pass", "topics": "pass"},
	} {
		got := diagnose(0, duty)
		for name, status := range want {
			if got[name] != status {
				t.Errorf("%s: %s: %s, want %s", duty, name, got[name], status)
			}
		}
	}
	if got := diagnose(3, read); got["broker-grants"] != "fail PULSAR_FORBIDDEN" || got["topic-schemas"] != "pass" {
		t.Errorf("a consumer's: %v", got)
	}
	t.Log(p.run(0, "doctor", "--config", run))
	p.run(0, "status", "--config", run)
	for _, format := range []string{"text", "json"} {
		p.run(0, "config", "show", "--config", run, "-o", format)
	}

	// A file that is open to others is warned of.
	if err := os.Chmod(passwords, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := diagnose(0, run)["secret-files"]; got != "warn SECRET_FILE_OPEN" {
		t.Errorf("a file open to others: %s", got)
	}
	if leak := secrets.leaked(arguments(t)); leak != "" {
		t.Errorf("a process has %q in its arguments", leak)
	}
	stop()
}

// The demo on secured servers, by nothing but the environment. It makes roles and
// a namespace of its own, so the token is the superuser's; TestQuickstart has one
// for each duty.
func TestDemo(t *testing.T) {
	t.Setenv("RUNNEL_PULSAR_CA_FILE", stack.CAFile())
	t.Setenv("RUNNEL_PULSAR_TOKEN_FILE", token(t, securestack.Superuser).path)
	secrets.add(superuserPassword())
	out := &lines{}
	err := demo.Run(t.Context(), demo.Options{
		Out: io.MultiWriter(out, &written), Duration: 2 * time.Second, Binary: binary(t),
		Servers: demo.Servers{PostgresURL: stack.PostgresURL, PulsarURL: stack.PulsarURL, PulsarAdminURL: stack.PulsarAdminURL},
	})
	if err != nil || !strings.Contains(out.String(), "It adds up") {
		t.Error(err, out)
	}
}
