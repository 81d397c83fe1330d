package securestack_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/demo"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/securestack"
)

// folder is for what tests share; it goes with the servers.
var folder string

// binary builds the program, once.
func binary(t *testing.T) string {
	t.Helper()
	name := filepath.Join(folder, "runnel")
	if _, err := os.Stat(name); err == nil {
		return name
	}
	if out, err := exec.Command("go", "build", "-o", name, "../../cmd/runnel").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return name
}

// program is the binary, run as a person or systemd would: in a folder with a
// runnel.yaml for each duty, and with no RUNNEL_ variable.
type program struct {
	t      *testing.T
	binary string
	dir    string
	env    []string
}

func newProgram(t *testing.T) *program {
	t.Helper()
	p := &program{t: t, dir: t.TempDir(), binary: binary(t)}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "RUNNEL_") && !strings.HasPrefix(entry, "PG") {
			p.env = append(p.env, entry)
		}
	}
	return p
}

// write writes a file that its owner alone may read.
func (p *program) write(name, content string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

func (p *program) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.binary, args...)
	cmd.Dir, cmd.Env = p.dir, p.env
	return cmd
}

// run runs a command to its end, and keeps its output for the search for
// secrets.
func (p *program) run(code int, args ...string) (stdout string) {
	p.t.Helper()
	var out, errs bytes.Buffer
	cmd := p.command(args...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, &written), io.MultiWriter(&errs, &written)
	err := cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code {
		p.t.Fatalf("%q: exit code %d, want %d (%v)\n%s%s", args, got, code, err, out.String(), errs.String())
	}
	return out.String()
}

// daemon starts `runnel run`, waits until it streams, and returns how to stop it.
func (p *program) daemon(address string, args ...string) (stop func()) {
	p.t.Helper()
	var log lines
	cmd := p.command(append([]string{"run", "--http", address}, args...)...)
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&log, &written), io.MultiWriter(&log, &written)
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := <-exited; err != nil {
			p.t.Errorf("the daemon: %v\n%s", err, log.String())
		}
	}
	p.t.Cleanup(stop)
	eventually(p.t, "the daemon to stream: "+strings.Join(args, " "), func() bool {
		ready := false
		for _, path := range []string{"/readyz", "/status", "/metrics"} {
			status, body := get(p.t, "http://"+address+path)
			_, _ = fmt.Fprintln(&written, body)
			ready = ready || path == "/readyz" && status == http.StatusOK
		}
		return ready
	})
	return stop
}

func get(t *testing.T, address string) (status int, body string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(address)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	data, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return response.StatusCode, string(data)
}

// listening returns an address of this machine that is free.
func listening(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// arguments are those of every process of this machine.
func arguments(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, f := range files {
		text, _ := os.ReadFile(f) // it may be gone
		all.Write(bytes.ReplaceAll(text, []byte{0}, []byte{' '}))
		all.WriteByte('\n')
	}
	return all.String()
}

// request finds the request behind "# or" that gives a duty its grant.
var request = regexp.MustCompile(`(?m)^ *# or (POST) /admin/v2(/namespaces/\S+) (\S+)$`)

// The quickstart with a role per duty: set up by administrators, run by a daemon
// that may produce and consume, read by someone who may consume. The commands
// tell what is missing, and no secret is in their output or their arguments.
func TestQuickstart(t *testing.T) {
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
	stop := p.daemon(http, "--config", provision, "--auto-apply")
	stop()

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
	stop = p.daemon(http, "--config", run)
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

// The demo on secured servers, by nothing but the environment.
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

func superuserPassword() string {
	u, err := url.Parse(stack.PostgresURL)
	if err != nil {
		return ""
	}
	password, _ := u.User.Password()
	return password
}
