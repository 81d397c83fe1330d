package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
)

// An event that its handler refuses is parked; when the handler is mended, a person
// retries it.
func ExampleRetryParked() {
	pool, pulsar, stop := services()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	var mended atomic.Bool
	parked := make(chan consumers.Message, 1)
	p, err := consumers.New(consumers.Config{Name: "parcels", Database: pool, Broker: pulsar, Logger: quiet,
		Retry: consumers.Retry{Immediate: 1, Delays: []time.Duration{time.Millisecond}},
		Observer: consumers.Observer{
			Applied: after(3, cancel),
			Parked: func(m consumers.Message, err error) {
				fmt.Println("parked", m.AggregateID, "for:", err)
				parked <- m
			},
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	consumers.Handle(p, func(_ context.Context, _ pgx.Tx, e consumers.Event[OrderPlaced]) error {
		if e.AggregateID == "o2" && !mended.Load() {
			return errors.New("hats are not shipped")
		}
		return nil
	})
	go func() { // a person, with runnel dlq retry
		m := <-parked
		mended.Store(true)
		n, err := consumers.RetryParked(ctx, pool, "parcels", consumers.ParkedFilter{ID: m.ID})
		fmt.Println(n, err)
	}()
	if err := p.Run(ctx); err != nil {
		fmt.Println(err)
	}
	left, err := consumers.CountParked(context.Background(), pool, "parcels", consumers.ParkedFilter{})
	fmt.Println(left, err)
	// Output:
	// parked o2 for: hats are not shipped
	// 1 <nil>
	// 0 <nil>
}

// An event that nobody needs is discarded, and the later ones of its key follow.
func ExampleDiscardParked() {
	pool, pulsar, stop := services()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	p, err := consumers.New(consumers.Config{Name: "labels", Database: pool, Broker: pulsar, Logger: quiet,
		Retry: consumers.Retry{Immediate: 1, Delays: []time.Duration{time.Millisecond}},
		Observer: consumers.Observer{
			Applied: after(2, cancel),
			Parked:  func(consumers.Message, error) { cancel() },
		}})
	if err != nil {
		fmt.Println(err)
		return
	}
	consumers.Handle(p, func(_ context.Context, _ pgx.Tx, e consumers.Event[OrderPlaced]) error {
		if e.AggregateID == "o2" {
			return errors.New("no label for hats")
		}
		return nil
	})
	if err := p.Run(ctx); err != nil {
		fmt.Println(err)
	}

	ctx = context.Background()
	all, err := consumers.Parked(ctx, pool, "labels", consumers.ParkedFilter{}, 10)
	for _, e := range all { // as runnel dlq list shows them
		fmt.Println(e.Message.Type, e.Message.AggregateID, e.Error)
	}
	fmt.Println(err)
	n, err := consumers.DiscardParked(ctx, pool, "labels", consumers.ParkedFilter{Key: "o2"})
	fmt.Println("discarded", n, err)
	// Output:
	// OrderPlaced o2 no label for hats
	// <nil>
	// discarded 1 <nil>
}
