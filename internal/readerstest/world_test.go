package readerstest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/examples/quickstart/fulfilment"
	"github.com/runnel-cdc/runnel/examples/quickstart/orders"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/internal/readerstest/programs"
	"github.com/runnel-cdc/runnel/outbox"
)

// environment says where the broker is.
type environment struct{ url, adminURL string }

func servers(t *testing.T) environment {
	return environment{pulsartest.URL(t), pulsartest.AdminURL(t)}
}

// world is the quickstart: the orders service, the daemon, and the copy that
// package fulfilment keeps.
type world struct {
	t         *testing.T
	db        *pgtest.DB // of the orders and, in a schema of its own, of the copy
	broker    environment
	namespace string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: pgtest.New(t), broker: servers(t), namespace: pulsartest.NamespaceName(t)}
	roles := outbox.Roles{Owner: w.db.Role("owner"), Writer: w.db.Role("writer"), Daemon: w.db.Role("daemon")}
	if _, err := outbox.Init(t.Context(), w.db.Conn(t), outbox.InitOptions{Roles: roles}); err != nil {
		t.Fatal(err)
	}
	w.db.Exec(t, orders.Schema)
	daemon, err := pipeline.New(pipeline.Config{
		Name: w.db.Name(), Postgres: func() (string, error) { return w.db.URL(), nil }, Slot: w.db.Slot("slot"),
		Broker:    broker.Config{URL: w.broker.url, AdminURL: w.broker.adminURL},
		Namespace: w.namespace, Schemas: "../../examples/quickstart/schemas", AutoApply: true, Roles: roles, Logger: w.logger(),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.background("the daemon", daemon.Run)
	pgtest.Eventually(t, patience, func() bool { return daemon.Status().State == pipeline.Streaming },
		func() string {
			return "the daemon streams; it is " + string(daemon.Status().State) + ": " + daemon.Status().Message
		})
	return w
}

func (w *world) topic() string { return "persistent://" + w.namespace + "/order" }

// fulfil keeps the copy in Go.
func (w *world) fulfil() {
	w.t.Helper()
	projection, err := fulfilment.Projection(consumers.Config{
		Database: w.db.Pool(w.t), Namespace: w.namespace, Logger: w.logger(),
		Broker: consumers.BrokerConfig{URL: w.broker.url, AdminURL: w.broker.adminURL},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.background("the copy in Go", projection.Run)
}

// work changes orders until stop is called.
func (w *world) work() (stop func()) {
	w.t.Helper()
	simulation := &orders.Simulation{DB: w.db.Pool(w.t), Pause: 20 * time.Millisecond, Seed: 1}
	return w.background("the orders service", simulation.Run)
}

// background runs f until stop is called or the test ends.
func (w *world) background(what string, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("%s: %v", what, err)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

// events is how many were committed.
func (w *world) events() int {
	w.t.Helper()
	return pgtest.Value[int](w.t, w.db, "select count(*)::int from runnel.outbox")
}

// rows returns a table of orders in the form that the readers print: a JSON
// array for each order, by id.
func (w *world) rows(table string) []string {
	w.t.Helper()
	lines, err := programs.Rows(w.t.Context(), w.db.Conn(w.t), `select id, customer_id::text, status, lines, total::text, currency,
		city, paid_by, carrier, tracking, reason from `+table+` order by id collate "C"`)
	if err != nil {
		w.t.Fatal(err)
	}
	return lines
}

func (w *world) logger() *slog.Logger { return quiet(w.t) }

// quiet logs warnings to the test.
func quiet(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Writer(testWriter{t}), &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}
