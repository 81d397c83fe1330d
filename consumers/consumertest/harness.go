package consumertest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/memory"
	"github.com/runnel-cdc/runnel/internal/consumerhook"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgfault"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/outbox/outboxtest"
	"github.com/runnel-cdc/runnel/schemas"
)

// Harness holds one projection and the world around it. Its methods are called by
// the test's goroutine alone; they fail the test at once when something is wrong.
type Harness struct {
	t          testing.TB
	db         DB
	world      *database // db, as the projection sees it
	clock      *Clock
	projection *consumers.Projection
	about      consumerhook.Projection
	since      *outboxtest.Outbox
	partitions int

	// The broker, and what it was given.
	broker   *memory.Broker
	registry *schemas.Registry
	topics   map[string]*topic
	last     position.Position // of the last event given

	mu      sync.Mutex
	run     *run                     // the one that is going on
	crashes *crashes                 // of Crash; nil: none
	dying   func(Moment) bool        // of CrashWhen; nil: none
	seen    map[broker.Partition]int // messages that were acknowledged
	moves   int                      // whatever the projection does; see watchdog
	// Of the watchdog; shorter in tests.
	stuckHint, stuckLimit time.Duration

	unseen   []consumers.ParkedEvent // that the test has not looked at
	discards []Discarded
	// The test has not looked at discards.
	unseenDiscards bool

	applied bool // Apply was called
}

// DB is a *pgxpool.Pool, a *pgx.Conn or a pgx.Tx.
type DB interface {
	Begin(ctx context.Context) (pgx.Tx, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

var (
	_ DB = (*pgxpool.Pool)(nil)
	_ DB = (*pgx.Conn)(nil)
	_ DB = (pgx.Tx)(nil)
)

// Option changes what New makes.
type Option func(*Harness)

// WithClock shares a clock. Default: one of its own, at Start.
func WithClock(c *Clock) Option { return func(h *Harness) { h.clock = c } }

// WithPartitions sets the number of partitions of every topic, at least 1. With
// more than one, handlers run concurrently, in the order of each aggregate.
// Default: 1, so that events are handled in the order given.
func WithPartitions(n int) Option { return func(h *Harness) { h.partitions = max(n, 1) } }

// New makes the projection that a service makes: newProjection gets a Config to
// fill in and to give to consumers.New, of which it keeps Database and Broker.
// Logger writes to the test's log. Mistakes of registration fail the test at once.
//
// With a *pgxpool.Pool or *pgx.Conn, the projection commits, as in production. A
// database in which it ran before is gone on with: what New's caller finds there is
// for the caller to empty: drop schema if exists NAME, runnel_projections, runnel
// cascade. With a pgx.Tx, all
// that it does is part of that transaction, which the test rolls back; a
// transaction of the projection is a savepoint then. So partitions take turns,
// deferred constraints are not checked, now() stands still, no commit can fail, and
// two such tests at a time in one database wait for each other where they make the
// same tables, so a test has one transaction; the handlers see no difference otherwise.
//
// Handlers that publish need an outbox in the database: outboxtest.Migrate makes it,
// and commits.
func New(t testing.TB, db DB, newProjection func(consumers.Config) (*consumers.Projection, error), options ...Option) *Harness {
	t.Helper()
	h := &Harness{
		t: t, db: db, clock: NewClock(), partitions: 1,
		stuckHint: defaultStuckHint, stuckLimit: defaultStuckLimit,
		broker: memory.New(), topics: make(map[string]*topic), seen: make(map[broker.Partition]int),
	}
	for _, o := range options {
		o(h)
	}
	h.world = newDatabase(h, db)
	h.registry = schemas.NewRegistry(h.broker.AdminURL(), h.broker.HTTP())
	hooks := &consumerhook.Hooks{
		Connect: func() (broker.Client, *schemas.Registry) {
			return &client{h.broker.Connect("consumertest"), h}, h.registry
		},
		Database: h.world, Now: h.clock.Now, Sleep: h.sleep, Waiting: h.waiting, Observe: h.observe,
	}
	cfg := consumers.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	consumerhook.Install(&cfg, hooks)
	var err error
	if h.projection, err = newProjection(cfg); err != nil {
		if errors.Is(err, consumers.ErrConfig) && h.projection == nil && strings.Contains(err.Error(), "Database is missing") {
			t.Fatalf("making the projection: %v\n→ Let the constructor fill in the Config that it is given, and pass that to consumers.New: it holds Database and Broker.", err)
		}
		h.fatal("making the projection", err)
	}
	if h.projection == nil || !consumerhook.Installed(h.projection, hooks) {
		t.Fatal("the projection was not made with the Config that its constructor was given: keep its Broker and Database")
	}
	if h.about, err = consumerhook.Describe(h.projection); err != nil {
		h.fatal("making the projection", err)
	}
	if _, err := db.Exec(t.Context(), "select"); err != nil {
		h.fatal("reaching the database", err)
	}
	h.makeTopics()
	h.since = outboxtest.Since(t, db)
	t.Cleanup(func() {
		if !t.Failed() {
			h.requireSeen()
		}
	})
	return h
}

// requireSeen requires that nothing happened, or did not, that the test passes over.
func (h *Harness) requireSeen() {
	h.t.Helper()
	if left := h.given() - h.count(); left > 0 {
		h.t.Errorf("%s given to projection %s and not applied\n→ Call Apply after Given.", events(left), h.about.Name)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.unseen) > 0 {
		lines, details := describeParked(h.unseen)
		h.t.Errorf("projection %s has put %s aside, and the test did not look:\n%s\n%s→ Call RequireParked, or Parked, after the last Apply.",
			h.about.Name, events(len(h.unseen)), strings.Join(lines, "\n"), details)
	}
	if h.unseenDiscards {
		h.t.Errorf("projection %s has discarded %s, and the test did not look:\n%s\n→ Call RequireDiscarded, or Discarded, after the last Apply.",
			h.about.Name, events(len(h.discards)), strings.Join(describeDiscarded(h.discards), "\n"))
	}
}

func events(n int) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

// given is how many messages the projection's topics hold.
func (h *Harness) given() (n int) {
	for _, t := range h.topics {
		for _, of := range t.what {
			n += len(of)
		}
	}
	return n
}

// Now returns the clock's time.
func (h *Harness) Now() time.Time { return h.clock.Now() }

// Clock returns the clock, which may be given to a handler or to another harness.
func (h *Harness) Clock() *Clock { return h.clock }

// Advance lets time pass while the projection runs: what is due is tried when its
// time comes, in between too, as often as Config.Retry says.
func (h *Harness) Advance(d time.Duration) {
	h.t.Helper()
	end := h.clock.Now().Add(d)
	for {
		h.Apply()
		next := h.nextTry()
		if next.IsZero() || next.After(end) {
			break
		}
		if !next.After(h.clock.Now()) {
			h.t.Fatalf("an event of projection %s is due at %s and was not tried", h.about.Name, next)
		}
		h.clock.set(next)
	}
	h.clock.set(end)
}

// nextTry returns when the next event is due, zero when none is.
func (h *Harness) nextTry() (next time.Time) {
	h.t.Helper()
	for _, e := range h.parked() {
		if !e.NextTry.IsZero() && (next.IsZero() || e.NextTry.Before(next)) {
			next = e.NextTry
		}
	}
	return next
}

// RetryParked is consumers.RetryParked, at the clock's time: what a person does with
// runnel dlq retry. The events are tried by the next Apply. It returns the number of
// keys.
func (h *Harness) RetryParked(filter consumers.ParkedFilter) (keys int) {
	h.t.Helper()
	keys, err := consumerhook.Retry(h.t.Context(), h.db, filter, h.about.Name, h.clock.Now())
	if err != nil {
		h.fatal("retrying parked events", err)
	}
	return keys
}

// DiscardParked is consumers.DiscardParked, at the clock's time: what a person does
// with runnel dlq discard. What waited behind is tried by the next Apply. It returns
// the number of events.
func (h *Harness) DiscardParked(filter consumers.ParkedFilter) (events int) {
	h.t.Helper()
	events, err := consumerhook.Discard(h.t.Context(), h.db, filter, h.about.Name, h.clock.Now())
	if err != nil {
		h.fatal("discarding parked events", err)
	}
	return events
}

// fatal fails the test, with the remedy where there is one.
func (h *Harness) fatal(what string, err error) {
	h.t.Helper()
	text := what + ": " + err.Error()
	switch f := fault.Find(err); {
	case f != nil:
		text += "\n→ " + f.WhatToDo()
	case errors.Is(err, pgx.ErrTxClosed):
		text += "\n→ Look before the transaction is committed or rolled back."
	case pgfault.State(err) == "25P02":
		text += "\n→ A statement of the transaction failed before."
	case pgfault.State(err) == "42P01" && !h.applied:
		text += "\n→ The projection's tables are made by the first Apply, which was not called yet."
	}
	h.t.Fatal(strings.TrimSpace(text))
}
