package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
)

// A service keeps a copy of the orders that another service publishes.
func Example() {
	pool, pulsar, stop := services()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())

	p, err := consumers.New(consumers.Config{
		Name:     "fulfilment",
		Database: pool,
		Broker:   pulsar, // left out, it comes from RUNNEL_PULSAR_URL and its like
		Migrate: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "create table orders (id text primary key, note text, amount bigint)")
			return err
		},
		Logger:   quiet,
		Observer: consumers.Observer{Applied: after(3, cancel)}, // or run until the service stops
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
		_, err := tx.Exec(ctx, "insert into orders values ($1, $2, $3)", e.AggregateID, e.Payload.Note, e.Payload.Amount)
		return err
	})
	if err := p.Run(ctx); err != nil {
		fmt.Println(err)
	}

	rows, _ := pool.Query(context.Background(), "select id || ': ' || note || ' for ' || amount from fulfilment.orders order by id")
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	fmt.Println(lines, err)
	// Output: [o1: shoes for 40 o2: a hat for 15 o3: a coat for 120] <nil>
}

// The batch form writes many events by one statement.
func ExampleHandleBatch() {
	pool, pulsar, stop := services()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())

	p, err := consumers.New(consumers.Config{
		Name: "revenue", Database: pool, Broker: pulsar, Topics: []string{"order"},
		Migrate: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "create table amounts (order_id text, amount bigint)")
			return err
		},
		Logger: quiet, Observer: consumers.Observer{Applied: after(3, cancel)},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	consumers.HandleBatch(p, func(ctx context.Context, tx pgx.Tx, batch []consumers.Message) error {
		var rows [][]any
		for _, m := range batch {
			if m.Type != "OrderPlaced" {
				continue
			}
			var e OrderPlaced
			if err := m.Decode(&e); err != nil {
				return err
			}
			rows = append(rows, []any{m.AggregateID, e.Amount})
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"amounts"}, []string{"order_id", "amount"}, pgx.CopyFromRows(rows))
		return err
	})
	if err := p.Run(ctx); err != nil {
		fmt.Println(err)
	}

	var sum int64
	err = pool.QueryRow(context.Background(), "select sum(amount)::bigint from revenue.amounts").Scan(&sum)
	fmt.Println(sum, err)
	// Output: 175 <nil>
}

func ExamplePositions() {
	pool, pulsar, stop := services()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	p, err := consumers.New(consumers.Config{Name: "audit", Database: pool, Broker: pulsar, Logger: quiet,
		Observer: consumers.Observer{Applied: after(3, cancel)}})
	if err != nil {
		fmt.Println(err)
		return
	}
	consumers.Handle(p, func(context.Context, pgx.Tx, consumers.Event[OrderPlaced]) error { return nil })
	if err := p.Run(ctx); err != nil {
		fmt.Println(err)
	}

	all, err := consumers.Positions(context.Background(), pool, "audit")
	for _, at := range all {
		fmt.Println(at.Topic, at.Partition, at.Position, at.Ordinal)
	}
	fmt.Println(err)
	// Output:
	// persistent://public/runnel/order 0 00000001-0000000000000030-00000000 3
	// <nil>
}

// Subscribe is for those who keep no copy: at least once, in order.
func ExampleSubscribe() {
	ctx, cancel := context.WithCancel(context.Background())
	stop := after(3, cancel)
	err := consumers.Subscribe(ctx, topicOfOrders(), "mailer", []string{"order"}, func(_ context.Context, m consumers.Message) error {
		var e OrderPlaced
		if err := m.Decode(&e); err != nil {
			return err
		}
		fmt.Printf("%s %s: %s\n", m.Type, m.AggregateID, e.Note)
		stop(consumers.Applied{})
		return nil
	})
	fmt.Println(err)
	// Output:
	// OrderPlaced o1: shoes
	// OrderPlaced o2: a hat
	// OrderPlaced o3: a coat
	// <nil>
}

// Discard passes over an event that will never work.
func ExampleDiscard() {
	ctx, cancel := context.WithCancel(context.Background())
	err := consumers.Subscribe(ctx, topicOfOrders(), "mailer", []string{"order"}, func(_ context.Context, m consumers.Message) error {
		if m.AggregateID != "o3" {
			return consumers.Discard(errors.New("no address"))
		}
		fmt.Println("mailed", m.AggregateID)
		cancel()
		return nil
	})
	fmt.Println(err)
	// Output:
	// mailed o3
	// <nil>
}

// RetryAfter says when an event that does not work now may work.
func ExampleRetryAfter() {
	ctx, cancel := context.WithCancel(context.Background())
	tries := 0
	err := consumers.Subscribe(ctx, topicOfOrders(), "mailer", []string{"order"}, func(_ context.Context, m consumers.Message) error {
		if tries++; tries < 3 {
			return consumers.RetryAfter(time.Millisecond, errors.New("mail server is busy"))
		}
		fmt.Println("mailed", m.AggregateID, "at try", tries)
		cancel()
		return nil
	})
	fmt.Println(err)
	// Output:
	// mailed o1 at try 3
	// <nil>
}

var quiet = slog.New(slog.DiscardHandler)

// after calls cancel when n events were applied.
func after(n int64, cancel context.CancelFunc) func(consumers.Applied) {
	var count atomic.Int64
	return func(consumers.Applied) {
		if count.Add(1) == n {
			cancel()
		}
	}
}

// topicOfOrders is a broker with three orders in one partition.
func topicOfOrders() consumers.BrokerConfig {
	var t examples
	s := newScripted(map[string]int{orders: 1})
	s.register(t, orders, placedV2)
	for i, e := range []OrderPlaced{{1, "shoes", 40}, {2, "a hat", 15}, {3, "a coat", 120}} {
		s.publish(t, broker.Partition{Topic: orders}, fmt.Sprintf("o%d", i+1), e)
	}
	b := consumers.BrokerConfig{Logger: quiet}
	b.SetBroker(s, s)
	return b
}

// services is a fresh database and topicOfOrders.
func services() (*pgxpool.Pool, consumers.BrokerConfig, func()) {
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	admin, err := pgx.Connect(ctx, os.Getenv("RUNNEL_POSTGRES_URL"))
	must(err)
	name := "example_" + uuid.NewString()[:8]
	_, err = admin.Exec(ctx, "create database "+name)
	must(err)
	cfg, err := pgxpool.ParseConfig(os.Getenv("RUNNEL_POSTGRES_URL"))
	must(err)
	cfg.ConnConfig.Database = name
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	must(err)
	return pool, topicOfOrders(), func() {
		pool.Close()
		_, err := admin.Exec(ctx, "drop database "+name+" with (force)")
		must(err)
		must(admin.Close(ctx))
	}
}

// examples stands in for the test that an Example does not have.
type examples struct{ testing.TB }

func (examples) Helper()           {}
func (examples) Fatal(args ...any) { panic(fmt.Sprint(args...)) }
