package orders

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"

	"github.com/runnel-cdc/runnel/examples/quickstart/events"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// Schema creates the service's own table.
const Schema = `create table if not exists orders (
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
)`

// ErrNotPossible is returned for a change that the order's status does not allow.
var ErrNotPossible = errors.New("the order's status does not allow it")

// Service places, bills and cancels orders.
type Service struct {
	DB *pgxpool.Pool
	// Publishing, if set, is told of an event just before its commit.
	Publishing func(id uuid.UUID)
}

// Order is what a customer asks for.
type Order struct {
	ID         string
	CustomerID uuid.UUID
	Lines      []events.OrderLine
	ShipTo     *events.Address
}

// Total is the sum of the lines.
func (o Order) Total() decimal.Decimal {
	var sum decimal.Decimal
	for _, l := range o.Lines {
		sum = sum.Add(l.UnitPrice.Mul(decimal.NewFromInt32(l.Quantity)))
	}
	return sum
}

// Place stores an order and publishes OrderPlaced: both or neither.
func (s *Service) Place(ctx context.Context, o Order) error {
	return pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error { return s.place(ctx, tx, o) })
}

func (s *Service) place(ctx context.Context, tx pgx.Tx, o Order) error {
	var city *string
	if o.ShipTo != nil {
		city = &o.ShipTo.City
	}
	_, err := tx.Exec(ctx, `insert into orders (id, customer_id, status, lines, total, currency, city)
		values ($1, $2, 'placed', $3, $4, 'EUR', $5)`, o.ID, o.CustomerID, len(o.Lines), o.Total().String(), city)
	if err != nil {
		return fmt.Errorf("store order %s: %w", o.ID, err)
	}
	return s.publish(ctx, tx, o.ID, events.OrderPlaced{
		OrderID: o.ID, CustomerID: o.CustomerID, Lines: o.Lines, Total: o.Total(), Currency: "EUR",
		ShipTo: o.ShipTo, PlacedAt: time.Now(),
	})
}

// publish writes an event into the outbox: it is published if tx commits.
func (s *Service) publish(ctx context.Context, tx pgx.Tx, id string, payload schemas.Payload) error {
	receipt, err := outbox.Publish(ctx, tx, outbox.Event{AggregateID: id, Payload: payload})
	if err == nil && s.Publishing != nil {
		s.Publishing(receipt.IDs[0])
	}
	return err
}

// Pay marks an order as paid and publishes OrderPaid.
func (s *Service) Pay(ctx context.Context, id string, method events.PaymentMethod, reference string) error {
	return s.change(ctx, id, func(tx pgx.Tx, status string, total decimal.Decimal) error {
		if status != "placed" {
			return ErrNotPossible
		}
		if _, err := tx.Exec(ctx, `update orders set status = 'paid', paid_by = $2 where id = $1`, id, string(method)); err != nil {
			return err
		}
		return s.publish(ctx, tx, id,
			events.OrderPaid{OrderID: id, Amount: total, Method: method, Reference: &reference, PaidAt: time.Now()})
	})
}

// Cancel cancels an order that has not been shipped and publishes OrderCancelled.
func (s *Service) Cancel(ctx context.Context, id, reason string) error {
	return s.change(ctx, id, func(tx pgx.Tx, status string, _ decimal.Decimal) error {
		if status != "placed" && status != "paid" {
			return ErrNotPossible
		}
		if _, err := tx.Exec(ctx, `update orders set status = 'cancelled', reason = $2 where id = $1`, id, reason); err != nil {
			return err
		}
		return s.publish(ctx, tx, id, events.OrderCancelled{OrderID: id, Reason: reason, CancelledAt: time.Now()})
	})
}

// change locks the order's row first: that is what puts the events of one order
// in the order of its changes.
func (s *Service) change(ctx context.Context, id string, f func(tx pgx.Tx, status string, total decimal.Decimal) error) error {
	return pgx.BeginFunc(ctx, s.DB, func(tx pgx.Tx) error {
		var status, total string
		if err := tx.QueryRow(ctx, `select status, total::text from orders where id = $1 for update`, id).Scan(&status, &total); err != nil {
			return fmt.Errorf("lock order %s: %w", id, err)
		}
		sum, err := decimal.NewFromString(total)
		if err != nil {
			return err
		}
		return f(tx, status, sum)
	})
}
