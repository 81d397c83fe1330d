package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/testserver"
)

// runnerFor returns a runner of a shell command that can add lines to a file,
// and how to read them, with a version of Postgres that is installed here.
func runnerFor(t *testing.T, script string) (r *runner, version string, lines func() []string) {
	t.Helper()
	testserver.Address(t, testserver.PulsarAdmin)
	var number int
	if err := pgtest.Conn(t, pgtest.URL(t)).QueryRow(t.Context(), "select current_setting('server_version_num')::int").Scan(&number); err != nil {
		t.Fatal(err)
	}
	version = fmt.Sprint(number / 10000)
	if err := devstack.Installed(t.Context(), devstack.Options{Postgres: true, PGVersion: version}); err != nil {
		t.Skip(err) // the shared server is another machine's
	}
	file := filepath.Join(t.TempDir(), "lines")
	t.Setenv("LINES_FILE", file)
	t.Setenv(testserver.Postgres, "postgres://must.not.be.used") // with several versions
	r = &runner{command: []string{"sh", "-c", script}, signals: make(chan os.Signal, 1)}
	return r, version, func() []string {
		text, _ := os.ReadFile(file) // not there yet: none
		return strings.Fields(string(text))
	}
}

func TestEachVersion(t *testing.T) {
	r, version, lines := runnerFor(t, `echo "$RUNNEL_POSTGRES_URL,$RUNNEL_PULSAR_URL,$RUNNEL_TEST_SERVERS" >>"$LINES_FILE"; exit 3`)
	if code := r.each([]string{version, version}); code != 3 {
		t.Errorf("exit code %d", code)
	}
	got := lines()
	if len(got) != 2 || got[0] == got[1] {
		t.Fatalf("the command saw %q", got)
	}
	for _, line := range got {
		seen := strings.Split(line, ",")
		if !strings.Contains(seen[0], "@127.0.0.1:") || seen[1] != os.Getenv(testserver.Pulsar) || seen[2] != "required" {
			t.Errorf("the command saw %q", line)
		}
	}
}

// TestSignalEndsAll: no other version is begun.
func TestSignalEndsAll(t *testing.T) {
	r, version, lines := runnerFor(t, `echo begun >>"$LINES_FILE"; exec sleep 60`)
	ended := make(chan int)
	go func() { ended <- r.each([]string{version, version}) }()
	pgtest.Eventually(t, time.Minute, func() bool { return len(lines()) > 0 }, "the command runs")
	r.signals <- syscall.SIGTERM
	if code := <-ended; code != 128+int(syscall.SIGTERM) {
		t.Errorf("exit code %d", code)
	}
	if got := lines(); len(got) != 1 {
		t.Errorf("begun %d times", len(got))
	}
}
