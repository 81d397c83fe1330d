package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
)

// revenue adds up amounts. Its first release counted hats, which it should not have.
func revenue(pool *pgxpool.Pool, pulsar consumers.BrokerConfig, version int, observer consumers.Observer) (*consumers.Projection, error) {
	p, err := consumers.New(consumers.Config{
		Name: "revenue", Version: version, Database: pool, Broker: pulsar, Logger: quiet, Observer: observer,
		Migrate: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "create table sales (id text primary key, amount bigint)")
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
		if e.Payload.Note == "a hat" && version > 1 {
			return nil
		}
		if _, err := tx.Exec(ctx, "insert into sales values ($1, $2)", e.AggregateID, e.Payload.Amount); err != nil {
			return err
		}
		if !e.CatchingUp {
			fmt.Println("mail to the accountant:", e.AggregateID)
		}
		return nil
	})
	return p, nil
}

// runFirst runs version 1 until it has had all there is.
func runFirst(pool *pgxpool.Pool, pulsar consumers.BrokerConfig) {
	ctx, cancel := context.WithCancel(context.Background())
	first, err := revenue(pool, pulsar, 1, consumers.Observer{Applied: after(3, cancel)})
	if err == nil {
		err = first.Run(ctx)
	}
	if err != nil {
		fmt.Println(err)
	}
}

// A handler was wrong, so the next release raises Config.Version: a new copy is built
// beside the one that is read, and takes its place. What had its effects has them once.
func ExampleCopies() {
	pool, pulsar, stop := services()
	defer stop()
	runFirst(pool, pulsar)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	second, err := revenue(pool, pulsar, 2, consumers.Observer{})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error, 1)
	go func() { done <- second.Run(ctx) }()
	isLive(ctx, pool, 2)
	cancel()
	fmt.Println(<-done)

	all, _ := consumers.Copies(context.Background(), pool, "revenue")
	for _, c := range all {
		fmt.Println("version", c.Version, c.State, "in schema", c.Schema, "has passed", c.Passed)
	}
	var sum int
	err = pool.QueryRow(context.Background(), "select sum(amount)::int from revenue.sales").Scan(&sum)
	fmt.Println(sum, err)
	// Output:
	// mail to the accountant: o1
	// mail to the accountant: o2
	// mail to the accountant: o3
	// <nil>
	// version 1 old in schema revenue_old has passed 3
	// version 2 live in schema revenue has passed 3
	// 160 <nil>
}

// When the new copy is right, the old one goes.
func ExampleDropOldCopy() {
	pool, pulsar, stop := services()
	defer stop()
	for version := 1; version <= 2; version++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		p, err := revenue(pool, pulsar, version, consumers.Observer{})
		if err != nil {
			fmt.Println(err)
		}
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()
		isLive(ctx, pool, version)
		cancel()
		if err := <-done; err != nil {
			fmt.Println(err)
		}
	}
	version, err := consumers.DropOldCopy(context.Background(), pool, "revenue")
	fmt.Println("removed version", version, err)
	version, err = consumers.DropOldCopy(context.Background(), pool, "revenue")
	fmt.Println("removed version", version, err)
	// Unordered output:
	// mail to the accountant: o1
	// mail to the accountant: o2
	// mail to the accountant: o3
	// removed version 1 <nil>
	// removed version 0 <nil>
}

// A new copy that goes wrong is given up; the live one was never touched.
func ExampleCancelRebuild() {
	pool, pulsar, stop := services()
	defer stop()
	runFirst(pool, pulsar)
	ctx := context.Background()
	second, err := consumers.New(consumers.Config{Name: "revenue", Version: 2, Database: pool, Broker: pulsar, Logger: quiet})
	if err != nil {
		fmt.Println(err)
		return
	}
	called := make(chan struct{}, 1)
	consumers.Handle(second, func(_ context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
		select {
		case called <- struct{}{}:
		default:
		}
		return errors.New("the table sales is not there")
	})
	done := make(chan error, 1)
	go func() { done <- second.Run(ctx) }()
	<-called
	version, err := consumers.CancelRebuild(ctx, pool, "revenue") // as runnel rebuild cancel does
	fmt.Println("given up: version", version, err)
	fmt.Println(errors.Is(<-done, consumers.ErrTables))
	// Output:
	// mail to the accountant: o1
	// mail to the accountant: o2
	// mail to the accountant: o3
	// given up: version 2 <nil>
	// true
}

// isLive waits until a version is the one that is read, and has passed three events.
func isLive(ctx context.Context, pool *pgxpool.Pool, version int) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		all, _ := consumers.Copies(ctx, pool, "revenue")
		for _, c := range all {
			if c.Version == version && c.State == "live" && c.Passed == 3 {
				return
			}
		}
		<-tick.C
	}
}

// A handler was wrong about a few events, and mends them when it has them again.
func ExampleProjection_Replay() {
	pool, pulsar, stop := services()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	p, err := consumers.New(consumers.Config{
		Name: "prices", Database: pool, Broker: pulsar, Logger: quiet, Observer: consumers.Observer{Applied: after(3, cancel)},
		Migrate: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "create table price (id text primary key, amount bigint)")
			return err
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
		_, err := tx.Exec(ctx, `insert into price values ($1, $2) on conflict (id) do update set amount = excluded.amount`,
			e.AggregateID, e.Payload.Amount)
		return err
	})
	if err := p.Run(ctx); err != nil {
		fmt.Println(err)
	}
	ctx = context.Background()
	if _, err := pool.Exec(ctx, "update prices.price set amount = 0 where id > 'o1'"); err != nil {
		fmt.Println(err)
	}

	only := consumers.ReplayRange{Key: "o2"}
	replayed, err := p.Replay(ctx, only, true) // a dry run
	fmt.Printf("%+v %v\n", replayed, err)
	replayed, err = p.Replay(ctx, only, false)
	fmt.Printf("%+v %v\n", replayed, err)
	rows, _ := pool.Query(ctx, "select id || ' ' || amount from prices.price order by id")
	prices, err := pgx.CollectRows(rows, pgx.RowTo[string])
	fmt.Println(prices, err)
	// Output:
	// {Matched:1 Applied:0 Discarded:0} <nil>
	// {Matched:1 Applied:1 Discarded:0} <nil>
	// [o1 40 o2 15 o3 0] <nil>
}
