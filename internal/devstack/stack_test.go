package devstack

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// needSetup skips a test whose servers ./setup has not installed.
func needSetup(t *testing.T) {
	t.Helper()
	err := Installed(t.Context(), Options{Postgres: true, Pulsar: true})
	if err == nil {
		return
	}
	if os.Getenv("RUNNEL_TEST_SERVERS") == "required" {
		t.Fatal(err)
	}
	t.Skip(err)
}

func up(t *testing.T, o Options) *Stack {
	t.Helper()
	needSetup(t)
	o.Timeout = 4 * time.Minute // a machine that is busy with other tests
	o.Progress = func(text string) { t.Log(text) }
	s, err := Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Down(context.Background()); err != nil {
			t.Errorf("down: %v", err)
		}
	})
	return s
}

// ask returns the one value of a query.
func ask(t *testing.T, s *Stack, query string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var value string
	if err := conn.QueryRow(t.Context(), query).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

func execute(t *testing.T, s *Stack, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func TestPostgres(t *testing.T) {
	s := up(t, Options{Postgres: true, Ephemeral: true})
	dir := s.Dir()
	for query, want := range map[string]string{
		"show wal_level": "logical", "show listen_addresses": "127.0.0.1", "show fsync": "off",
		"select rolsuper::text from pg_roles where rolname = current_user":                  "true",
		"select count(*)::text from pg_hba_file_rules where auth_method <> 'scram-sha-256'": "0",
		"select string_agg(name, ' ') from pg_settings where pending_restart":               "",
	} {
		if want == "" {
			query = "select coalesce((" + query + "), '')"
		}
		if got := ask(t, s, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	execute(t, s, "create table kept (n int)")
	before := s.Servers()[0].PID
	if err := s.RestartPostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Servers()[0].PID == before || ask(t, s, "select count(*)::text from kept") != "0" {
		t.Error("not restarted with its data")
	}
	if err := s.StopPostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Servers()[0].Running {
		t.Error("runs after being stopped")
	}
	if err := s.StartPostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Down(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data stays behind: %v", err)
	}
}

// TestAcrossProcesses uses one folder through several Stacks, as the commands
// of `runnel dev` do, below a folder that other users cannot enter.
func TestAcrossProcesses(t *testing.T) {
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "stack")
	first := up(t, Options{Postgres: true, Dir: dir})
	if first.guard.input != nil {
		t.Error("the guard of a kept stack is on duty")
	}
	execute(t, first, "create table kept ()")
	again := up(t, Options{Postgres: true, Dir: dir})
	if again.PostgresURL != first.PostgresURL || again.Servers()[0].PID != first.Servers()[0].PID {
		t.Error("a second server was started")
	}
	opened, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := opened.Servers()[0]
	if !server.Running || opened.PostgresURL != first.PostgresURL || time.Since(server.Since) > 10*time.Minute {
		t.Errorf("%+v", server)
	}
	if err := opened.Remove(); !errors.Is(err, ErrBusy) {
		t.Errorf("removed while it runs: %v", err)
	}
	if err := opened.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if first.Servers()[0].Running {
		t.Fatal("still running")
	}

	listener, err := net.Listen("tcp4", strings.TrimPrefix(hostOf(t, first.PostgresURL), "@"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), Options{Postgres: true, Dir: dir}); !errors.Is(err, ErrPortTaken) {
		t.Errorf("taken port: %v", err)
	}
	_ = listener.Close()
	if _, err := Up(t.Context(), Options{Postgres: true, Dir: dir, PGVersion: "99"}); !errors.Is(err, ErrFolder) {
		t.Errorf("other version: %v", err)
	}

	third := up(t, Options{Postgres: true, Dir: dir})
	if got := ask(t, third, "select count(*)::text from kept"); got != "0" || third.PostgresURL != first.PostgresURL {
		t.Error("not the same data, or not at the same address")
	}
	base := third.state.Postgres.Base
	if err := errors.Join(third.Down(t.Context()), third.Remove()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, base} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s stays behind: %v", path, err)
		}
	}
}

func hostOf(t *testing.T, rawURL string) string {
	t.Helper()
	config, err := pgx.ParseConfig(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(config.Host, itoa(config.Port))
}

// TestBrokenServer: a server that dies is reported with its last words.
func TestBrokenServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "stack")
	s := up(t, Options{Postgres: true, Dir: dir})
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	auto := filepath.Join(s.state.Postgres.Base, "data", "postgresql.auto.conf")
	if err := os.WriteFile(auto, []byte("shared_buffers = nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if as, err := postgresAccount(); err != nil || as.own(auto) != nil {
		t.Fatal(err)
	}
	_, err := Up(t.Context(), Options{Postgres: true, Dir: dir})
	if !errors.Is(err, ErrStart) || !strings.Contains(err.Error(), "shared_buffers") {
		t.Fatalf("got %v", err)
	}
	if err := s.Remove(); err != nil {
		t.Error(err)
	}
}

func TestNotReadyInTime(t *testing.T) {
	needSetup(t)
	dir := filepath.Join(t.TempDir(), "stack")
	_, err := Up(t.Context(), Options{Pulsar: true, Dir: dir, Ephemeral: true, Timeout: time.Second})
	if !errors.Is(err, ErrNotReady) {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data stays behind: %v", err)
	}
}

func TestGivenUp(t *testing.T) {
	needSetup(t)
	dir := filepath.Join(t.TempDir(), "stack")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Up(ctx, Options{Postgres: true, Pulsar: true, Dir: dir, Ephemeral: true,
		Progress: func(text string) {
			if text == "Pulsar: starting" {
				cancel()
			}
		}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data stays behind: %v", err)
	}
}

// TestPulsar starts one, kills it and starts it again; its topics are there.
func TestPulsar(t *testing.T) {
	s := up(t, Options{Pulsar: true, Ephemeral: true})
	const topic = "/admin/v2/persistent/public/default/kept/partitions"
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.PulsarAdminURL+topic, strings.NewReader("3"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode/100 != 2 {
		t.Fatal(response.Status)
	}
	if err := s.RestartBroker(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer, err := get(t.Context(), client, s.PulsarAdminURL+topic)
	if err != nil || !strings.Contains(answer, `"partitions":3`) {
		t.Errorf("%s %v", answer, err)
	}
	if err := s.PauseBroker(); err != nil {
		t.Fatal(err)
	}
	brief, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := get(brief, client, s.PulsarAdminURL+topic); err == nil {
		t.Error("a paused broker answers")
	}
	if err := s.ResumeBroker(); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t.Context(), client, s.PulsarAdminURL+topic); err != nil {
		t.Error(err)
	}
	if strangerGetsIn(t, s.state.Pulsar.ZooKeeper) {
		t.Error("ZooKeeper serves a client without the password")
	}
	dir := s.Dir()
	if err := s.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data stays behind: %v", err)
	}
}

// TestParentKilled kills a process that has a stack, in a way it cannot see.
func TestParentKilled(t *testing.T) {
	needSetup(t)
	dir := filepath.Join(t.TempDir(), "stack")
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperParent$")
	cmd.Env = append(os.Environ(), "RUNNEL_TEST_PARENT_DIR="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "up" {
		t.Log(lines.Text())
	}
	running, err := loadState(dir)
	if err != nil || running.Postgres == nil || !running.Postgres.Process.alive() {
		t.Fatalf("not up: %+v %v", running, err)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	eventually(t, "the server ends with its parent", func() bool { return !running.Postgres.Process.alive() })
	eventually(t, "its data is removed", func() bool {
		_, err := os.Stat(dir)
		return errors.Is(err, os.ErrNotExist)
	})
}

// TestHelperParent is the process that TestParentKilled kills.
func TestHelperParent(t *testing.T) {
	dir := os.Getenv("RUNNEL_TEST_PARENT_DIR")
	if dir == "" {
		t.Skip("only for TestParentKilled")
	}
	if _, err := Up(t.Context(), Options{Postgres: true, Dir: dir, Ephemeral: true}); err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdout.WriteString("up\n")
	select {}
}
