package consumertest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/consumers/consumertest"
	"github.com/runnel-cdc/runnel/internal/faketb"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/outbox/outboxtest"
)

// Depot is a service's constructor of its projection: what it keeps of orders.
func Depot(cfg consumers.Config) (*consumers.Projection, error) {
	cfg.Name = "depot"
	cfg.Migrate = func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "create table orders (id text primary key, note text, shipped bool not null default false)")
		return err
	}
	p, err := consumers.New(cfg)
	if err != nil {
		return nil, err
	}
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
		_, err := tx.Exec(ctx, "insert into orders (id, note) values ($1, $2)", e.AggregateID, e.Payload.Note)
		return err
	})
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderShipped]) error {
		tag, err := tx.Exec(ctx, "update orders set shipped = true where id = $1", e.AggregateID)
		if err == nil && tag.RowsAffected() == 0 {
			err = errors.New("the order is not there")
		}
		return err
	})
	return p, nil
}

// Given events, when applied, then rows. All of it is in the test's transaction, and
// the projection is killed all the time.
func Example() {
	runTest(func(t testing.TB, tx pgx.Tx) { // func TestDepot(t *testing.T) {
		h := consumertest.New(t, tx, Depot)
		h.Crash()
		h.Given(
			outbox.Event{AggregateID: "o-1", Payload: OrderPlaced{body{1, "shoes"}}},
			outbox.Event{AggregateID: "o-2", Payload: OrderPlaced{body{2, "a hat"}}},
			outbox.Event{AggregateID: "o-1", Payload: OrderShipped{body{1, ""}}})
		h.Apply()
		h.RequireRows("select id, note, shipped from orders order by id",
			"o-1 | shoes | true",
			"o-2 | a hat | false")
		h.RequireParked()
	})
	// Output: passed
}

// An event that its handler refuses is tried again by the test's clock, then parked.
func ExampleHarness_Advance() {
	runTest(func(t testing.TB, tx pgx.Tx) {
		h := consumertest.New(t, tx, Depot)
		h.Given(outbox.Event{AggregateID: "o-1", Payload: OrderShipped{body{1, ""}}})
		h.Apply()
		h.RequireParked("OrderShipped o-1 retrying")
		h.Advance(time.Hour) // takes no time
		h.RequireParked("OrderShipped o-1 parked")
		fmt.Println(h.Parked()[0].Tries, "tries:", h.Parked()[0].Error)
	})
	// Output:
	// 6 tries: the order is not there
	// passed
}

// A projection that adds up instead of writing what it knows is wrong as soon as it
// dies at a bad moment, if its sum is not in the transaction.
func ExampleHarness_CrashWhen() {
	runTest(func(t testing.TB, tx pgx.Tx) {
		placed := 0 // in memory: it survives no crash, and no rollback
		h := consumertest.New(t, tx, func(cfg consumers.Config) (*consumers.Projection, error) {
			cfg.Name = "counter"
			p, err := consumers.New(cfg)
			if err != nil {
				return nil, err
			}
			consumers.Handle(p, func(context.Context, pgx.Tx, consumers.Event[OrderPlaced]) error {
				placed++
				return nil
			})
			return p, nil
		})
		died := false
		h.CrashWhen(func(m consumertest.Moment) bool {
			dies := m == consumertest.BeforeCommit && !died
			died = died || dies
			return dies
		})
		h.Given(outbox.Event{AggregateID: "o-1", Payload: OrderPlaced{body{1, "shoes"}}})
		h.Apply()
		fmt.Println("orders:", placed)
	})
	// Output:
	// orders: 2
	// passed
}

// What a handler publishes is in the outbox, in the test's transaction.
func ExampleHarness_RequirePublished() {
	runTest(func(t testing.TB, tx pgx.Tx) {
		h := consumertest.New(t, tx, func(cfg consumers.Config) (*consumers.Projection, error) {
			cfg.Name = "packing"
			p, err := consumers.New(cfg)
			if err != nil {
				return nil, err
			}
			consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
				_, err := outbox.Publish(e.Context(ctx), tx, outbox.Event{AggregateID: e.AggregateID, Payload: ParcelPacked{body{1, "a box of " + e.Payload.Note}}})
				return err
			})
			return p, nil
		})
		h.Given(outbox.Event{AggregateID: "o-1", Payload: OrderPlaced{body{1, "shoes"}}})
		h.Apply()
		h.RequirePublished(outbox.Event{AggregateID: "o-1", Payload: ParcelPacked{body{1, "a box of shoes"}}})
		fmt.Println(h.Published()[0].Headers["causationid"] != "")
	})
	// Output:
	// true
	// passed
}

// A failure shows the difference.
func ExampleHarness_RequireRows() {
	runTest(func(t testing.TB, tx pgx.Tx) {
		h := consumertest.New(t, tx, Depot)
		h.Given(outbox.Event{AggregateID: "o-1", Payload: OrderPlaced{body{1, "shoes"}}})
		h.Apply()
		h.RequireRows("select id, note, shipped from orders", "o-1 | boots | false")
	})
	// Output:
	// select id, note, shipped from orders (- wanted, + found):
	// - o-1 | boots | false
	// + o-1 | shoes | false
}

// runTest runs a test in a transaction that is rolled back, in a database that has an
// outbox, and prints how it went.
func runTest(test func(testing.TB, pgx.Tx)) {
	failure := faketb.Run(context.Background(), func(t testing.TB) {
		conn := pgtest.New(t).Conn(t)
		outboxtest.Migrate(t, conn, ParcelPacked{})
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
