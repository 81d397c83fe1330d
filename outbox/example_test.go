package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// OrderShipped stands for a type that `runnel schemas gen go` writes.
type OrderShipped struct{ Parcels int }

var orderShipped = schemas.MustEventType(`{"type": "record", "name": "OrderShipped", "aggregate": "order",
	"fields": [{"name": "parcels", "type": "int"}]}`)

func (OrderShipped) EventType() *schemas.EventType { return orderShipped }

func (o OrderShipped) AppendAvro(dst []byte) ([]byte, error) {
	return append(dst, byte(o.Parcels<<1)), nil
}

// exampleDB stands for a database, so that the examples run without one.
type exampleDB struct{ pgx.Tx }

func (exampleDB) Exec(_ context.Context, sql string, _ ...any) (pgconn.CommandTag, error) {
	fmt.Println(strings.Join(strings.Fields(sql)[:3], " "))
	return pgconn.CommandTag{}, nil
}

func (exampleDB) QueryRow(context.Context, string, ...any) pgx.Row { return exampleRow{} }

type exampleRow struct{}

func (exampleRow) Scan(into ...any) error {
	*into[0].(*int32), *into[1].(*string) = 1, "26000000"
	return nil
}

// State and event are written in one transaction: both are there, or neither.
func ExamplePublish() {
	ctx := context.Background()
	var tx pgx.Tx = exampleDB{} // tx, err := pool.Begin(ctx)

	// The row lock is what gives the events of one order their order.
	if _, err := tx.Exec(ctx, `update orders set state = 'shipped' where id = 42`); err != nil {
		fmt.Println(err)
		return
	}
	receipt, err := outbox.Publish(ctx, tx, outbox.Event{AggregateID: "42", Payload: OrderShipped{Parcels: 2}})
	if err != nil {
		fmt.Println(err) // and roll back
		return
	}
	fmt.Println(len(receipt.IDs), "event with a UUID of", receipt.IDs[0].Version())
	// Output:
	// update orders set
	// insert into runnel.outbox
	// 1 event with a UUID of VERSION_7
}

// A receipt's token lets a reader of a local copy wait for this very write.
func ExampleReceipt_Token() {
	ctx := context.Background()
	var tx exampleDB
	receipt, err := outbox.Publish(ctx, tx, outbox.Event{AggregateID: "42", Payload: OrderShipped{Parcels: 2}})
	if err != nil {
		fmt.Println(err)
		return
	}
	// After the commit, with any connection to the same database:
	token, err := receipt.Token(ctx, tx)
	fmt.Println(len(token), "characters", err)
	// Output:
	// insert into runnel.outbox
	// 70 characters <nil>
}

// An event that cannot be published is refused before anything is sent.
func ExampleEvent() {
	_, err := outbox.Publish(context.Background(), nil, outbox.Event{Payload: OrderShipped{Parcels: 2}})
	fmt.Println(errors.Is(err, outbox.ErrInvalid), err)
	// Output: true events[0]: EVENT_INVALID AggregateID is missing
}

// The SQL that `runnel init --dry-run --show-sql` prints.
func ExampleScript() {
	script, err := outbox.Script(outbox.Options{Roles: outbox.Roles{Writer: "shop_writer"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	first, _, _ := strings.Cut(script, "\n")
	fmt.Println(first)
	// Output: -- Runnel: roles, schema, grants and publication of the outbox. Idempotent.
}

// Headers that a request carries become default headers of its events.
func ExampleWithCorrelation() {
	ctx := outbox.WithCorrelation(context.Background(), "checkout-7", "01890a5d-ac96-774b-bcce-b302099a8057")
	ctx = outbox.WithTraceparent(ctx, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	_, err := outbox.Publish(ctx, exampleDB{}, outbox.Event{AggregateID: "42", Payload: OrderShipped{Parcels: 2}})
	fmt.Println(err)
	// Output:
	// insert into runnel.outbox
	// <nil>
}

// What a service's own statement on a watched table was refused for.
func ExampleExplain() {
	// _, err := tx.Exec(ctx, `update customers set born = 'infinity'`)
	var err error = &pgconn.PgError{Code: "RN008", Message: "table public.customers is watched, and its column born holds what its events cannot"}
	fmt.Println(errors.Is(err, outbox.ErrRowRefused), errors.Is(outbox.Explain(err), outbox.ErrRowRefused))
	// Output: false true
}
