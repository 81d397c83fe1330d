// Package consumerhook is how package consumertest reaches what package consumers
// does not export: package consumers fills in the functions, so that neither its
// API nor a running projection knows of tests.
package consumerhook

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/schemas"
)

// Hooks take the place of the world around a projection. All are required.
type Hooks struct {
	// Connect opens a connection to the broker and to its schema registry, for
	// each Run.
	Connect  func() (broker.Client, *schemas.Registry)
	Database Database
	Now      func() time.Time
	// Sleep pauses for d or until ctx ends, which it reports.
	Sleep func(ctx context.Context, d time.Duration) error
	// Waiting is called by the goroutine of a partition that has worked off what
	// it received, before it waits: at most for d, when something else is due.
	Waiting func(of broker.Partition, d time.Duration)
	// Observe is given the projection's *consumers.Observer to change.
	Observe func(observer any)
}

// Database is where a projection's transactions come from; package consumers
// says what it asks of the methods.
type Database interface {
	Begin(ctx context.Context) (pgx.Tx, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Open(ctx context.Context, of broker.Partition) (tx pgx.Tx, release func(), err error)
}

// Projection describes a projection.
type Projection struct {
	Name    string
	Schema  string   // of its tables
	Topics  []string // full names
	Version int
}

// Filled in by package consumers.
var (
	// Install makes the projections that are made with a *consumers.Config use h.
	Install func(config any, h *Hooks)
	// Installed reports whether a *consumers.Projection was made with h.
	Installed func(projection any, h *Hooks) bool
	// Describe describes a *consumers.Projection. Its error is a mistake of
	// registration.
	Describe func(projection any) (Projection, error)
	// Complete makes a *consumers.Message that the database holds readable, as it is
	// in a handler of a *consumers.Projection.
	Complete func(ctx context.Context, projection any, registry *schemas.Registry, message any) error
	// Retry is consumers.RetryParked for events that are due at a time of the
	// test's clock. db is a consumers.Beginner, filter a consumers.ParkedFilter.
	Retry func(ctx context.Context, db, filter any, projection string, at time.Time) (keys int, err error)
	// Discard is consumers.DiscardParked; what waited behind is due at that time.
	Discard func(ctx context.Context, db, filter any, projection string, at time.Time) (events int, err error)
)
