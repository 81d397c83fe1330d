package consumers_test

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
)

// A service that has just placed an order reads it from another service's copy.
func ExampleWaitFor() {
	pool, pulsar, stop := services()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	applied := make(chan consumers.Applied, 4)
	p, err := consumers.New(consumers.Config{
		Name: "fulfilment", Database: pool, Broker: pulsar, Logger: quiet,
		WaitWindow: 10 * time.Minute, // WaitFor is offered
		Migrate: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "create table orders (id text primary key, note text)")
			return err
		},
		Observer: consumers.Observer{Applied: func(a consumers.Applied) { applied <- a }},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
		_, err := tx.Exec(ctx, "insert into orders values ($1, $2)", e.AggregateID, e.Payload.Note)
		return err
	})
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-applied

	// The writer publishes and commits, makes the token of its receipt, and sends it
	// along: in a header of its answer, or of the next request.
	token := placeOrder(pulsar, "o4", OrderPlaced{N: 4, Note: "gloves"})

	// Whoever reads the copy waits for that write first.
	if err := consumers.WaitFor(ctx, pool, "fulfilment", token); err != nil {
		fmt.Println(err) // and read what there is, or answer that it takes longer
	}
	var note string
	err = pool.QueryRow(ctx, "select note from fulfilment.orders where id = 'o4'").Scan(&note)
	fmt.Println(note, err)
	cancel()
	fmt.Println(<-done)
	// Output:
	// gloves <nil>
	// <nil>
}

// placeOrder stands for the writer's Publish, Commit and Receipt.Token, and for the
// daemon.
func placeOrder(b consumers.BrokerConfig, id string, e OrderPlaced) string {
	var t examples
	s := b.Broker().(*scripted)
	m := s.message(t, broker.Partition{Topic: orders}, id, e)
	m.Properties["id"], m.PublishTime = uuid.Must(uuid.NewV7()).String(), time.Now()
	s.append(m.Partition, m)
	return tokenOf(t, m)
}
