package consumertest

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// database gives the projection its transactions: of a pool, or one at a time of a
// connection or of the test's own transaction.
//
// Invariant: where there is one connection, the run's context ends only while no
// statement is under way, because that would close the connection, and with it the
// test's transaction.
type database struct {
	h    *Harness
	pool *pgxpool.Pool // nil: db is a single connection
	db   DB
	turn chan struct{} // whose token is held while the connection is used
	tx   bool          // db is the test's transaction
}

func newDatabase(h *Harness, db DB) *database {
	d := &database{h: h, db: db, turn: make(chan struct{}, 1)}
	d.pool, _ = db.(*pgxpool.Pool)
	_, d.tx = db.(pgx.Tx)
	return d
}

// take waits for the connection, where there is only one.
func (d *database) take(ctx context.Context) (release func(), err error) {
	if d.pool != nil {
		return func() {}, nil
	}
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := ctx.Err(); err != nil { // both were ready
		<-d.turn
		return nil, err
	}
	return sync.OnceFunc(func() { <-d.turn }), nil
}

// Begin implements consumerhook.Database.
func (d *database) Begin(ctx context.Context) (pgx.Tx, error) {
	if d.pool != nil {
		return d.pool.Begin(ctx)
	}
	release, err := d.take(ctx)
	if err != nil {
		return nil, err
	}
	restore, err := d.keepSettings(ctx)
	var tx pgx.Tx
	if err == nil {
		tx, err = d.db.Begin(ctx)
	}
	if err != nil {
		release()
		return nil, err
	}
	return &turnTx{tx, restore, release}, nil
}

// keepSettings returns how to put back what a projection sets for the rest of its
// transaction, which is the test's.
func (d *database) keepSettings(ctx context.Context) (restore func(context.Context) error, err error) {
	if !d.tx {
		return func(context.Context) error { return nil }, nil
	}
	var path, idle string
	err = d.db.QueryRow(ctx, "select current_setting('search_path'), current_setting('idle_in_transaction_session_timeout')").Scan(&path, &idle)
	return func(ctx context.Context) error {
		_, err := d.db.Exec(ctx, "select set_config('search_path', $1, true), set_config('idle_in_transaction_session_timeout', $2, true)", path, idle)
		return err
	}, err
}

// turnTx is a transaction that holds the only connection.
type turnTx struct {
	pgx.Tx
	restore func(context.Context) error
	release func()
}

func (t *turnTx) Commit(ctx context.Context) error {
	defer t.release()
	if err := t.Tx.Commit(ctx); err != nil {
		return err
	}
	return t.restore(ctx)
}

func (t *turnTx) Rollback(ctx context.Context) error {
	defer t.release()
	return t.Tx.Rollback(ctx)
}

// Open implements consumerhook.Database: these transactions hold events.
func (d *database) Open(ctx context.Context, of broker.Partition) (pgx.Tx, func(), error) {
	if d.pool == nil {
		tx, err := d.Begin(ctx)
		return &mortalTx{tx, d.h, of}, func() {}, err
	}
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		conn.Release()
		return nil, nil, err
	}
	return &mortalTx{tx, d.h, of}, conn.Release, nil
}

// Query implements consumerhook.Database.
func (d *database) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	release, err := d.take(ctx)
	if err != nil {
		return errorRows{err: err}, err
	}
	rows, err := d.db.Query(ctx, sql, args...)
	if err != nil {
		release()
	}
	return &turnRows{rows, release}, err
}

// turnRows holds the only connection until they are closed, as pgx's helpers do.
type turnRows struct {
	pgx.Rows
	release func()
}

func (r *turnRows) Close() {
	r.Rows.Close()
	r.release()
}

// errorRows are those of a query that was not sent.
type errorRows struct {
	pgx.Rows
	err error
}

func (errorRows) Close()       {}
func (errorRows) Next() bool   { return false }
func (r errorRows) Err() error { return r.err }

// Exec implements consumerhook.Database.
func (d *database) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	release, err := d.take(ctx)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer release()
	return d.db.Exec(ctx, sql, args...)
}

// QueryRow implements consumerhook.Database.
func (d *database) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	release, err := d.take(ctx)
	if err != nil {
		return turnRow{err: err}
	}
	return turnRow{row: d.db.QueryRow(ctx, sql, args...), release: release}
}

type turnRow struct {
	row     pgx.Row
	release func()
	err     error
}

func (r turnRow) Scan(into ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.release()
	return r.row.Scan(into...)
}
