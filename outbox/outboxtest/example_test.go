package outboxtest_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/faketb"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/outbox/outboxtest"
)

// ship is the code under test.
func ship(ctx context.Context, tx pgx.Tx, id string, parcels int64) error {
	_, err := outbox.Publish(ctx, tx, outbox.Event{AggregateID: id, Payload: Shipped{Parcels: parcels}})
	return err
}

func ExampleRequirePublished() {
	runTest(func(t testing.TB, tx pgx.Tx) { // func TestShip(t *testing.T) {
		if err := ship(t.Context(), tx, "o-1", 2); err != nil {
			t.Fatal(err)
		}
		outboxtest.RequirePublished(t, tx, outbox.Event{AggregateID: "o-1", Payload: Shipped{Parcels: 2}})
		outboxtest.RequirePublished(t, tx, outbox.Event{AggregateID: "o-1", Payload: Shipped{Parcels: 3}})
	})
	// Output:
	// published events (- wanted, + published):
	//   OrderShipped of order o-1
	//     {
	// -     "parcels": 3
	// +     "parcels": 2
	//     }
}

func ExamplePublished() {
	runTest(func(t testing.TB, tx pgx.Tx) {
		if err := ship(outbox.WithCorrelation(t.Context(), "checkout-7", ""), tx, "o-1", 2); err != nil {
			t.Fatal(err)
		}
		for _, e := range outboxtest.Published(t, tx) {
			fmt.Println(e.Payload.EventType().Name, e.AggregateID, e.Payload, e.Headers)
			fmt.Println(outboxtest.Decode[Shipped](t, e).Parcels, "parcels")
		}
	})
	// Output:
	// OrderShipped o-1 {"parcels":2} map[correlationid:checkout-7]
	// 2 parcels
	// passed
}

// runTest runs a test in a transaction that is rolled back, in a database of its own,
// and prints how it went.
func runTest(test func(testing.TB, pgx.Tx)) {
	failure := faketb.Run(context.Background(), func(t testing.TB) {
		conn := pgtest.New(t).Conn(t)
		outboxtest.Migrate(t, conn, Shipped{}, Cancelled{})
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
		test(t, tx)
	})
	if failure == "" {
		failure = "passed"
	}
	fmt.Println(failure)
}
