package consumers

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// class says what an error of a transaction calls for.
type class uint8

const (
	failed   class = iota // the event's fault, or its handler's: retry it alone
	conflict              // lost against another transaction: do it again
	down                  // the database's fault: wait, do it again
	full                  // no room for another parked event: wait, do it again
	ahead                 // the live copy is not there yet: wait for it
	stopping              // ctx ended
)

// trouble is a transaction that did not commit, or of which that is unknown.
type trouble struct {
	class class
	err   error
	entry int // whose handler failed: its number among the transaction's entries, from 1; 0: unknown
}

func (t *trouble) Error() string { return t.err.Error() }
func (t *trouble) Unwrap() error { return t.err }

// blame notes the entry, counted from 0, whose handler failed.
func blame(err error, entry int) error {
	if t, ok := errors.AsType[*trouble](err); ok {
		t.entry = entry + 1
	}
	return err
}

// classify judges an error that came up while a transaction was open; closed
// tells whether its connection is gone.
func classify(ctx context.Context, err error, closed bool) class {
	if ctx.Err() != nil {
		return stopping
	}
	switch state := pgfault.State(err); {
	case state == "40001" || state == "40P01": // serialization failure, deadlock
		return conflict
	case state == "25P03" || state == "25P04": // idle, or open, for too long: the handler's doing
		return failed
	case state == "25006", // a standby: the primary has moved
		state == "57P01", state == "57P02", state == "57P03", // shut down, starting up
		strings.HasPrefix(state, "08"), // connection
		strings.HasPrefix(state, "53"), // resources: disk, memory, connections
		strings.HasPrefix(state, "58"): // the server's system
		return down
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return failed // a deadline of the handler's own; pgx closed the connection for it
	}
	var connect *pgconn.ConnectError
	if closed || errors.As(err, &connect) {
		return down
	}
	return failed
}

// unreachable reports whether a statement outside of any handler failed because the
// connection was lost, or could not be made for whatever reason.
func unreachable(err error) bool {
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// SQLSTATEs that are looked for in several places.
const (
	stateNoRight = "42501" // insufficient_privilege
	stateLocked  = "55P03" // lock_not_available

	stateDeadlock = "40P01"
)

// isMissing reports whether a table, column or schema is not there: no projection
// ran in the database, or none of this release.
func isMissing(err error) bool {
	switch pgfault.State(err) {
	case "42P01", "42703", "3F000":
		return true
	}
	return false
}

// guardedTx is the transaction that a handler sees: it may do everything but
// end it.
type guardedTx struct {
	pgx.Tx
	ended bool
}

// Commit reports ErrHandlerTx.
func (g *guardedTx) Commit(context.Context) error {
	g.ended = true
	return ErrHandlerTx.New("Commit was called by a handler")
}

// Rollback reports ErrHandlerTx.
func (g *guardedTx) Rollback(context.Context) error {
	g.ended = true
	return ErrHandlerTx.New("Rollback was called by a handler")
}

// check reports what a handler that returned nil did to its transaction.
func (g *guardedTx) check() error {
	conn := g.Conn().PgConn()
	switch {
	case g.ended:
		return ErrHandlerTx.New("the handler called Commit or Rollback")
	case conn.IsBusy():
		return ErrHandlerTx.New("the handler left rows or a batch open")
	case conn.TxStatus() == 'I':
		return ErrHandlerTx.New("a statement ended the transaction")
	case conn.TxStatus() == 'E':
		return ErrHandlerTx.New("a statement failed and the handler returned no error")
	}
	return nil
}

// gone reports whether the transaction was ended behind the guard's back. What
// was done in it up to there is then durable without its position.
func (g *guardedTx) gone() bool {
	conn := g.Conn().PgConn()
	return !conn.IsClosed() && !conn.IsBusy() && conn.TxStatus() == 'I'
}
