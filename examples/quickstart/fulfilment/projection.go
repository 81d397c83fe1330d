package fulfilment

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/examples/quickstart/events"
)

// Name is the projection's name, and the Postgres schema of its tables.
const Name = "fulfilment"

// Projection returns the local copy of the orders. cfg needs a database; name
// and migration are set here.
func Projection(cfg consumers.Config) (*consumers.Projection, error) {
	cfg.Name = Name
	cfg.Migrate = migrate
	p, err := consumers.New(cfg)
	if err != nil {
		return nil, err
	}
	consumers.Handle(p, placed)
	consumers.Handle(p, paid)
	consumers.Handle(p, shipped)
	consumers.Handle(p, cancelled)
	return p, nil
}

func migrate(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `create table orders (
		id          text          primary key,
		customer_id uuid          not null,
		status      text          not null,
		lines       integer       not null,
		total       numeric(12,2) not null,
		currency    text          not null,
		city        text,
		paid_by     text,
		carrier     text,
		tracking    text,
		reason      text
	)`)
	return err
}

// The handlers get the transaction in which the position moves too: each event
// counts exactly once, so a plain INSERT will do.

func placed(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderPlaced]) error {
	o := e.Payload
	var city *string
	if o.ShipTo != nil {
		city = &o.ShipTo.City
	}
	_, err := tx.Exec(ctx, `insert into orders (id, customer_id, status, lines, total, currency, city)
		values ($1, $2, 'placed', $3, $4, $5, $6)`,
		o.OrderID, o.CustomerID, len(o.Lines), o.Total.String(), o.Currency, city)
	return err
}

func paid(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderPaid]) error {
	return one(tx.Exec(ctx, `update orders set status = 'paid', paid_by = $2 where id = $1`,
		e.Payload.OrderID, string(e.Payload.Method)))
}

func shipped(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderShipped]) error {
	return one(tx.Exec(ctx, `update orders set status = 'shipped', carrier = $2, tracking = $3 where id = $1`,
		e.Payload.OrderID, e.Payload.Carrier, e.Payload.Tracking))
}

func cancelled(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderCancelled]) error {
	return one(tx.Exec(ctx, `update orders set status = 'cancelled', reason = $2 where id = $1`,
		e.Payload.OrderID, e.Payload.Reason))
}

// one requires that a change met its order: events of one order come in order,
// so its OrderPlaced was here before.
func one(tag interface{ RowsAffected() int64 }, err error) error {
	if err == nil && tag.RowsAffected() != 1 {
		return fmt.Errorf("the order is not there")
	}
	return err
}
