package torture

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
)

// settings is what a child process is told, in its environment: arguments can be
// read by everybody on the machine.
type settings struct {
	Postgres, Pulsar, PulsarAdmin string
	Schemas                       string
	HTTP                          string
	Partitions                    int
	AutoApply                     bool
	Park                          bool
	Version                       int    // of the projection
	Repair                        string // hash of a plan to carry out
	Routes                        []router.RouteRule
}

// settingsVariable holds them, as JSON.
const settingsVariable = "RUNNEL_TORTURE_SETTINGS"

// pipelineName is the daemon's.
const pipelineName = "torture"

// slotName is the daemon's slot.
const slotName = "runnel_" + pipelineName

func readSettings() (s settings, err error) {
	if err := json.Unmarshal([]byte(os.Getenv(settingsVariable)), &s); err != nil {
		return s, fmt.Errorf("%s: %w", settingsVariable, err)
	}
	return s, nil
}

// Daemon is the body of a daemon process: the product's pipeline, with short
// pauses. Each line on standard input arms failpoints.
func Daemon() error {
	s, err := readSettings()
	if err != nil {
		return err
	}
	pipeline.LimitMemory(16 << 20) // as runnel run does, with the default
	p, err := pipeline.New(s.pipeline(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go armFrom(os.Stdin)
	return p.Run(ctx)
}

// pipeline is the configuration of the pipeline.
func (s settings) pipeline(log *slog.Logger) pipeline.Config {
	return pipeline.Config{
		Name: pipelineName, Postgres: func() (string, error) { return s.Postgres, nil },
		Broker:    broker.Config{URL: s.Pulsar, AdminURL: s.PulsarAdmin, Logger: log, KeepAlive: 2 * time.Second},
		Namespace: namespace, Partitions: s.Partitions, Schemas: s.Schemas, Routes: s.Routes,
		Stall: 20 * time.Second, Recheck: time.Second, OutboxRetention: -1, Roles: outbox.Roles{},
		AutoApply: s.AutoApply, Park: s.Park, ParkedLimit: 1_000_000, HTTP: s.HTTP, Logger: log,
	}
}

// Repair is the body of a process that repairs the daemon's slot, by a plan.
func Repair() error {
	s, err := readSettings()
	if err != nil {
		return err
	}
	_, err = pipeline.Repair(context.Background(), s.pipeline(slog.New(slog.NewTextHandler(os.Stderr, nil))), s.Repair)
	return err
}

// armFrom arms what it is told to, until the harness is gone.
func armFrom(in io.Reader) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if err := failpoint.Arm(lines.Text()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
}
