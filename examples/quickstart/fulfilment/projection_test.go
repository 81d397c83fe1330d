package fulfilment_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/shopspring/decimal"

	"github.com/runnel-cdc/runnel/consumers/consumertest"
	"github.com/runnel-cdc/runnel/examples/quickstart/events"
	"github.com/runnel-cdc/runnel/examples/quickstart/fulfilment"
	"github.com/runnel-cdc/runnel/outbox"
)

// begin begins a transaction in any Postgres, of which nothing is left.
func begin(t *testing.T) pgx.Tx {
	t.Helper()
	url := os.Getenv("RUNNEL_POSTGRES_URL")
	if url == "" {
		t.Skip("RUNNEL_POSTGRES_URL is not set")
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func TestShipped(t *testing.T) {
	h := consumertest.New(t, begin(t), fulfilment.Projection)
	h.Crash() // it is killed all the time
	h.Given(placed("o-1"), placed("o-2"), shipped("o-1"))
	h.Apply()
	h.RequireRows("select id, status, carrier, total, city from orders order by id",
		"o-1 | shipped | DHL | 19.80 | Ghent",
		"o-2 | placed | null | 19.80 | Ghent")
	h.RequireParked()
}

func TestShippedButNeverPlaced(t *testing.T) {
	h := consumertest.New(t, begin(t), fulfilment.Projection)
	h.Given(shipped("o-1"), placed("o-1"), placed("o-2"))
	h.Advance(time.Hour)
	h.RequireParked("OrderShipped o-1 parked", "OrderPlaced o-1 behind")
	h.RequireRows("select id from orders", "o-2")
}

func placed(id string) outbox.Event {
	return outbox.Event{AggregateID: id, Payload: events.OrderPlaced{
		OrderID: id, CustomerID: uuid.UUID{1}, Currency: "EUR", Total: decimal.RequireFromString("19.80"),
		Lines:  []events.OrderLine{{SKU: "shoes", Quantity: 2, UnitPrice: decimal.RequireFromString("9.90")}},
		ShipTo: &events.Address{City: "Ghent", Country: "BE"},
	}}
}

func shipped(id string) outbox.Event {
	return outbox.Event{AggregateID: id, Payload: events.OrderShipped{OrderID: id, Carrier: "DHL", ShippedAt: time.Now()}}
}
