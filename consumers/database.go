package consumers

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// database is what a projection needs of Config.Database. Package consumertest
// gives another, of which all transactions are part of one that is rolled back.
type database interface {
	Querier
	Begin(ctx context.Context) (pgx.Tx, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	// Open begins a transaction that applies a partition, read committed, on a
	// connection that nobody else gets until release, which is called once, after
	// the transaction's end: its Conn may be looked at until then.
	Open(ctx context.Context, of broker.Partition) (tx pgx.Tx, release func(), err error)
}

// pooled is a database of a pool.
type pooled struct{ *pgxpool.Pool }

// Begin implements database. What waits for a lock has to see what was done
// meanwhile, whatever the database's default is.
func (p pooled) Begin(ctx context.Context) (pgx.Tx, error) {
	return p.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
}

// Open implements database.
func (p pooled) Open(ctx context.Context, _ broker.Partition) (pgx.Tx, func(), error) {
	conn, err := p.Acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		conn.Release()
		return nil, nil, err
	}
	return tx, conn.Release, nil
}
