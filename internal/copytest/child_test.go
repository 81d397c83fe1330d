package copytest

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/examples/quickstart/fulfilment"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/child"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/outbox"
)

var full = flag.Bool("full", false, "play the scenarios as large as the documentation says they were played")

// of returns how much of something a scenario has.
func of(small, large int) int {
	if *full {
		return large
	}
	return small
}

// beside lets small scenarios play at once; large ones have the machine to themselves.
func beside(t *testing.T) {
	if !*full {
		t.Parallel()
	}
}

func TestMain(m *testing.M) {
	if text := os.Getenv(asChild); text != "" {
		if err := play(text); err != nil {
			fmt.Fprintln(os.Stderr, "ended:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// The roles of children, which are this same program.
const (
	roleDaemon     = "daemon"
	roleFulfilment = "fulfilment" // the quickstart's
	roleWalks      = "walks"      // a copy of walks
)

// asChild holds a child's settings, as JSON: arguments can be read by everybody on
// the machine.
const asChild = "RUNNEL_COPYTEST_CHILD"

// settings is what a child is told.
type settings struct {
	Role, Namespace, Postgres, Pulsar, PulsarAdmin string

	// Of a daemon.
	Name, Slot, Schemas string
	Roles               outbox.Roles

	// Of a projection.
	Version   int
	Patient   bool // tries a failing event as long as services do
	Publishes bool // in its turn
}

func play(text string) error {
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if s.Role == roleDaemon {
		p, err := pipeline.New(pipeline.Config{
			Name: s.Name, Postgres: func() (string, error) { return s.Postgres, nil }, Slot: s.Slot,
			Broker:    broker.Config{URL: s.Pulsar, AdminURL: s.PulsarAdmin, Logger: log},
			Namespace: s.Namespace, Schemas: s.Schemas, AutoApply: true, Roles: s.Roles, Logger: log,
		})
		if err != nil {
			return err
		}
		return p.Run(ctx)
	}
	pool, err := pgxpool.New(ctx, s.Postgres)
	if err != nil {
		return err
	}
	defer pool.Close()
	cfg := consumers.Config{Database: pool, Namespace: s.Namespace, Version: s.Version, Logger: log,
		Broker: consumers.BrokerConfig{URL: s.Pulsar, AdminURL: s.PulsarAdmin}}
	if !s.Patient {
		cfg.Retry.Delays = []time.Duration{100 * time.Millisecond, 300 * time.Millisecond}
	}
	var p *consumers.Projection
	if s.Role == roleFulfilment {
		p, err = fulfilment.Projection(cfg)
	} else {
		p, err = walks(cfg, s.Publishes)
	}
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// process is a child, and what it is to be again when it was killed.
type process struct {
	*child.Process
	t *testing.T
	s settings
	n int // lives
}

// start starts a child. Its log is shown when the test fails.
func start(t *testing.T, s settings) *process {
	t.Helper()
	p := &process{t: t, s: s}
	p.again()
	t.Cleanup(func() { p.Kill() })
	return p
}

// again starts the process anew; it was killed, or a second one is to run beside it.
func (p *process) again() {
	p.t.Helper()
	p.n++
	text, err := json.Marshal(p.s)
	if err != nil {
		p.t.Fatal(err)
	}
	name := filepath.Join(p.t.TempDir(), "log")
	log, err := os.Create(name)
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asChild+"="+string(text))
	cmd.Stdout, cmd.Stderr = log, log
	p.Process, err = child.Start(cmd, nil)
	if closed := log.Close(); err != nil || closed != nil {
		p.t.Fatal(err, closed)
	}
	what := fmt.Sprintf("%s, life %d", p.s.Role, p.n)
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("%s: %s", what, tail(name))
		}
	})
}

// restart kills the process and starts it again.
func (p *process) restart() {
	p.t.Helper()
	p.mustLive()
	p.Kill()
	p.again()
}

// mustLive requires that the process has not ended by itself.
func (p *process) mustLive() {
	p.t.Helper()
	if !p.Alive() {
		p.t.Fatalf("%s, life %d, ended by itself: %v", p.s.Role, p.n, p.Err())
	}
}

// tail returns the end of a file.
func tail(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-3000):])
}
