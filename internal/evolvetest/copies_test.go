package evolvetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/examples/quickstart/fulfilment"
	"github.com/runnel-cdc/runnel/internal/evolvetest/events"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/readerstest/programs"
)

// copied is a projection that runs, and its database.
type copied struct {
	name string
	db   *pgtest.DB
	pool *pgxpool.Pool
	stop func()
}

// fulfil runs the quickstart's projection, built with the old events.
func (w *world) fulfil() *copied {
	w.t.Helper()
	return w.project(fulfilment.Name, fulfilment.Projection)
}

// desk runs the new release's projection.
func (w *world) desk(name string) *copied {
	w.t.Helper()
	return w.project(name, func(cfg consumers.Config) (*consumers.Projection, error) {
		cfg.Name = name
		return desk(cfg)
	})
}

func (w *world) project(name string, of func(consumers.Config) (*consumers.Projection, error)) *copied {
	w.t.Helper()
	cfg, db := w.consumer()
	p, err := of(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return &copied{name, db, cfg.Database, w.background(name, p.Run)}
}

// desk is a copy of the orders with what the new release knows of them. As in the
// quickstart's, what came twice, or before what it follows, would fail.
func desk(cfg consumers.Config) (*consumers.Projection, error) {
	cfg.Migrate = func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `create table orders (id text primary key, customer_id uuid not null, status text not null,
			total numeric(12,2) not null, currency text not null, channel text not null, paid_by text, carrier text, reason text)`)
		return err
	}
	p, err := consumers.New(cfg)
	if err != nil {
		return nil, err
	}
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderPlaced]) error {
		_, err := tx.Exec(ctx, `insert into orders (id, customer_id, status, total, currency, channel) values ($1, $2, 'placed', $3, $4, $5)`,
			e.Payload.OrderID, e.Payload.CustomerID, e.Payload.Total.String(), e.Payload.Currency, e.Payload.Channel)
		return err
	})
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderPaid]) error {
		return step(tx.Exec(ctx, `update orders set status = 'paid', paid_by = $2 where id = $1 and status = 'placed'`, e.Payload.OrderID, string(e.Payload.Method)))
	})
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderShipped]) error {
		return step(tx.Exec(ctx, `update orders set status = 'shipped', carrier = $2 where id = $1 and status = 'paid'`, e.Payload.OrderID, e.Payload.Carrier))
	})
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderCancelled]) error {
		return step(tx.Exec(ctx, `update orders set status = 'cancelled', reason = $2 where id = $1 and status in ('placed', 'paid')`, e.Payload.OrderID, e.Payload.Reason))
	})
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderReturned]) error {
		return step(tx.Exec(ctx, `update orders set status = 'returned', reason = $2 where id = $1 and status = 'shipped'`, e.Payload.OrderID, e.Payload.Reason))
	})
	return p, nil
}

func step(tag interface{ RowsAffected() int64 }, err error) error {
	if err == nil && tag.RowsAffected() != 1 {
		return fmt.Errorf("the order is not there, or not yet or no longer as the event says")
	}
	return err
}

// passes waits until the copy has passed n events, and requires that none is parked.
func (c *copied) passes(t *testing.T, n int) {
	t.Helper()
	var got uint64
	pgtest.Eventually(t, patience, func() bool {
		all, err := consumers.Copies(t.Context(), c.pool, c.name)
		if err != nil || len(all) == 0 {
			return false
		}
		got = all[0].Passed
		return got >= uint64(n)
	}, func() string { return fmt.Sprintf("%s passes %d events; it has passed %d", c.name, n, got) })
	parked, err := consumers.Parked(t.Context(), c.pool, c.name, consumers.ParkedFilter{}, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range parked {
		t.Errorf("%s has parked %s of %s: %s", c.name, e.Message.Type, e.Message.AggregateID, e.Error)
	}
}

// The columns of orders that a copy holds, and what those who do not know of returns
// make of them.
const (
	// A reader in Go that was built with the old schemas sees the enum's default in place
	// of a symbol that is new.
	oldColumns = "id, customer_id, case status when 'returned' then 'shipped' else status end, lines, total, currency, city, " +
		"case paid_by when 'WALLET' then 'UNKNOWN' else paid_by end, carrier, tracking, case status when 'returned' then null else reason end"
	// One that takes fields by name, by the schema that an event was written with, sees
	// the symbol. In the form that readers in Java and Python print.
	printedColumns = "id, customer_id::text, case status when 'returned' then 'shipped' else status end, lines, total::text, currency, city, " +
		"paid_by, carrier, tracking, case status when 'returned' then null else reason end"
	newColumns = "id, customer_id, status, total, currency, channel, paid_by, carrier, reason"
)

// equals compares a copy with the orders.
func (c *copied) equals(w *world, columns string) {
	w.t.Helper()
	programs.Compare(w.t, c.name, rows(w.t, c.pool, c.name+".orders", columns), rows(w.t, w.service, "public.orders", columns))
}

// rows returns a table's rows as text, by id.
func rows(t *testing.T, pool *pgxpool.Pool, table, columns string) []string {
	t.Helper()
	found, _ := pool.Query(t.Context(), `select o::text from (select `+columns+` from `+table+`) o order by id collate "C"`)
	all, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return all
}
