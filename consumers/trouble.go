package consumers

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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
}

func (t *trouble) Error() string { return t.err.Error() }
func (t *trouble) Unwrap() error { return t.err }

// classify judges an error that came up while a transaction was open; closed
// tells whether its connection is gone.
func classify(ctx context.Context, err error, closed bool) class {
	if ctx.Err() != nil {
		return stopping
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case pg.Code == "40001" || pg.Code == "40P01": // serialization failure, deadlock
			return conflict
		case pg.Code == "25P03": // idle in transaction for too long: the handler's doing
			return failed
		case pg.Code == "25006", // a standby: the primary has moved
			pg.Code == "57P01", pg.Code == "57P02", pg.Code == "57P03", // shut down, starting up
			strings.HasPrefix(pg.Code, "08"), // connection
			strings.HasPrefix(pg.Code, "53"), // resources: disk, memory, connections
			strings.HasPrefix(pg.Code, "58"): // the server's system
			return down
		}
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
