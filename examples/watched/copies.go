package watched

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/examples/watched/events"
)

// Name is the projection's name, and the Postgres schema of its tables.
const Name = "copies"

// Projection returns the copies of pgbench's tables. cfg needs a database; name
// and migration are set here.
func Projection(cfg consumers.Config) (*consumers.Projection, error) {
	cfg.Name = Name
	cfg.Migrate = migrate
	p, err := consumers.New(cfg)
	if err != nil {
		return nil, err
	}
	consumers.Handle(p, branchChanged)
	consumers.Handle(p, branchDeleted)
	consumers.Handle(p, tellerChanged)
	consumers.Handle(p, tellerDeleted)
	consumers.Handle(p, accountChanged)
	consumers.Handle(p, accountDeleted)
	consumers.Handle(p, historyChanged)
	consumers.Handle(p, historyDeleted)
	return p, nil
}

func migrate(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `
		create table branches (bid integer primary key, bbalance integer, filler character(88));
		create table tellers  (tid integer primary key, bid integer, tbalance integer, filler character(84));
		create table accounts (aid integer primary key, bid integer, abalance integer, filler character(84));
		create table history  (tid integer, bid integer, aid integer not null, delta integer, mtime timestamp, filler character(22));
		create index on history (aid)`)
	return err
}

// An event holds the whole row as it is now, so a copy takes it as it comes: the
// first state and a change look the same.

func branchChanged(ctx context.Context, tx pgx.Tx, e consumers.Event[events.BranchChanged]) error {
	r := e.Payload.Row
	_, err := tx.Exec(ctx, `insert into branches values ($1, $2, $3)
		on conflict (bid) do update set bbalance = excluded.bbalance, filler = excluded.filler`, r.Bid, r.Bbalance, r.Filler)
	return err
}

func branchDeleted(ctx context.Context, tx pgx.Tx, e consumers.Event[events.BranchDeleted]) error {
	_, err := tx.Exec(ctx, `delete from branches where bid = $1`, e.Payload.Key.Bid)
	return err
}

func tellerChanged(ctx context.Context, tx pgx.Tx, e consumers.Event[events.TellerChanged]) error {
	r := e.Payload.Row
	_, err := tx.Exec(ctx, `insert into tellers values ($1, $2, $3, $4)
		on conflict (tid) do update set bid = excluded.bid, tbalance = excluded.tbalance, filler = excluded.filler`,
		r.Tid, r.Bid, r.Tbalance, r.Filler)
	return err
}

func tellerDeleted(ctx context.Context, tx pgx.Tx, e consumers.Event[events.TellerDeleted]) error {
	_, err := tx.Exec(ctx, `delete from tellers where tid = $1`, e.Payload.Key.Tid)
	return err
}

func accountChanged(ctx context.Context, tx pgx.Tx, e consumers.Event[events.AccountChanged]) error {
	r := e.Payload.Row
	_, err := tx.Exec(ctx, `insert into accounts values ($1, $2, $3, $4)
		on conflict (aid) do update set bid = excluded.bid, abalance = excluded.abalance, filler = excluded.filler`,
		r.Aid, r.Bid, r.Abalance, r.Filler)
	return err
}

func accountDeleted(ctx context.Context, tx pgx.Tx, e consumers.Event[events.AccountDeleted]) error {
	_, err := tx.Exec(ctx, `delete from accounts where aid = $1`, e.Payload.Key.Aid)
	return err
}

// The history is only added to, or emptied. Its key does not tell rows apart, so
// a single row that was changed could not be found.

func historyChanged(ctx context.Context, tx pgx.Tx, e consumers.Event[events.HistoryChanged]) error {
	r := e.Payload.Row
	_, err := tx.Exec(ctx, `insert into history values ($1, $2, $3, $4, $5, $6)`, r.Tid, r.Bid, r.Aid, r.Delta, r.Mtime, r.Filler)
	return err
}

func historyDeleted(ctx context.Context, tx pgx.Tx, e consumers.Event[events.HistoryDeleted]) error {
	_, err := tx.Exec(ctx, `delete from history where aid = $1`, e.Payload.Key.Aid)
	return err
}
