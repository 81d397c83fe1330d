package pipeline_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
)

// asDaemon makes the test's own binary run a pipeline: a process that can be
// killed like any other.
const asDaemon = "RUNNEL_TEST_DAEMON"

func TestMain(m *testing.M) {
	if text := os.Getenv(asDaemon); text != "" {
		os.Exit(daemonMain(text))
	}
	goleak.VerifyTestMain(m)
}

// daemonConfig is what a daemon process is told of a Config.
type daemonConfig struct {
	Name, Slot, Namespace, Schemas, Postgres, Pulsar, PulsarAdmin string
	Roles                                                         outbox.Roles
	Routes                                                        []router.RouteRule
	Park                                                          bool
	ParkedLimit                                                   int
}

func daemonMain(text string) int {
	var d daemonConfig
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	cfg := pipeline.Config{
		Name: d.Name, Slot: d.Slot, Namespace: d.Namespace, Schemas: d.Schemas, Roles: d.Roles, Routes: d.Routes,
		Park: d.Park, ParkedLimit: d.ParkedLimit,
		AutoApply: true, HTTP: "127.0.0.1:0",
		Postgres: func() (string, error) { return d.Postgres, nil },
		Broker:   broker.Config{URL: d.Pulsar, AdminURL: d.PulsarAdmin},
	}
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stdout, nil))
	p, err := pipeline.New(cfg)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := p.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// process is a daemon of its own.
type process struct {
	cmd     *exec.Cmd
	address string // of its HTTP server
}

// spawn starts a daemon process, with its log in the test's.
func (w *world) spawn() *process {
	w.t.Helper()
	text, err := json.Marshal(daemonConfig{
		Name: w.cfg.Name, Slot: w.cfg.Slot, Namespace: w.cfg.Namespace, Schemas: w.cfg.Schemas,
		Postgres: w.url, Pulsar: w.cfg.Broker.URL, PulsarAdmin: w.cfg.Broker.AdminURL,
		Roles: w.cfg.Roles, Routes: w.cfg.Routes, Park: w.cfg.Park, ParkedLimit: w.cfg.ParkedLimit,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), asDaemon+"="+string(text))
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		w.t.Log(lines.Text())
		if _, rest, ok := strings.Cut(lines.Text(), "metrics=http://"); ok {
			p.address = strings.TrimSuffix(rest, "/metrics")
			break
		}
	}
	if p.address == "" {
		w.t.Fatal("the daemon did not listen")
	}
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		for lines.Scan() {
			w.t.Log(lines.Text())
		}
	}()
	w.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may be gone
		<-logged
		_ = p.cmd.Wait()
	})
	return p
}

// published returns how many events the process has had acknowledged.
func (p *process) published() int {
	response, err := http.Get("http://" + p.address + "/metrics")
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	n := 0.0
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "runnel_published_events_total") {
			v, _ := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]), 64)
			n += v
		}
	}
	return int(n)
}

// tell logs the process's status when the test has failed.
func (p *process) tell(t *testing.T) {
	if !t.Failed() {
		return
	}
	response, err := http.Get("http://" + p.address + "/status")
	if err != nil {
		t.Log(err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	t.Logf("%s", body)
}

// killAfter kills the process once it has published n events.
func (p *process) killAfter(t *testing.T, n int) {
	t.Helper()
	pgtest.Eventually(t, 60*time.Second, func() bool { return p.published() >= n }, "events published before the kill")
	t.Logf("killed after %d events", p.published())
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = p.cmd.Process.Wait()
}

// TestKilledInTheMiddle: a daemon that is killed again and again, while it
// publishes the rows from before the slot and while it streams, publishes each
// event once.
func TestKilledInTheMiddle(t *testing.T) {
	w := newWorld(t)
	w.init()
	w.write(1, 20_000)
	w.spawn().killAfter(t, 1000)
	written := make(chan struct{})
	go func() {
		defer close(written)
		w.write(20_001, 40_000)
	}()
	for range 5 {
		w.spawn().killAfter(t, 1500)
	}
	<-written
	last := w.spawn()
	defer last.tell(t)
	w.complete("order")
}

// unconfirmed writes and kills daemons until something is published and not confirmed. It
// returns the number of the next row.
func (w *world) unconfirmed(next int) int {
	w.t.Helper()
	for open := false; !open; next += 5000 {
		w.write(next, 5000)
		w.spawn().killAfter(w.t, 1000)
		open = pgtest.Value[bool](w.t, w.db, `select confirmed_flush_lsn < pg_current_wal_insert_lsn() - 64
			from pg_replication_slots where slot_name = $1`, w.cfg.Slot)
	}
	return next
}
