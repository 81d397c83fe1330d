package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
)

// An observer feeds a service's own metrics: here what was applied, and what was
// tried again.
func ExampleObserver() {
	pool, pulsar, stop := services()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	applied, open := 0, false // one partition, so that one goroutine calls
	enough := after(3, cancel)

	p, err := consumers.New(consumers.Config{
		Name: "fulfilment", Database: pool, Broker: pulsar, Logger: quiet,
		Retry: consumers.Retry{Immediate: 1, Delays: []time.Duration{time.Millisecond}},
		Observer: consumers.Observer{
			Applied: func(a consumers.Applied) {
				applied++
				enough(a)
			},
			Failed: func(m consumers.Message, tries int, pause time.Duration, err error) {
				fmt.Printf("%s of %s: try %d failed, again after %v: %v\n", m.Type, m.AggregateID, tries, pause, err)
				open = true
			},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	consumers.Handle(p, func(_ context.Context, _ pgx.Tx, e consumers.Event[OrderPlaced]) error {
		if !open {
			return errors.New("the warehouse is closed")
		}
		return nil
	})
	if err := p.Run(ctx); err != nil {
		fmt.Println(err)
	}
	fmt.Println(applied, "applied")
	// Output:
	// OrderPlaced of o1: try 1 failed, again after 1ms: the warehouse is closed
	// 3 applied
}

// A service is ready when its copies are: connected, and waiting for nothing.
func ExampleProjection_Status() {
	pool, pulsar, stop := services()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	applied := make(chan struct{}, 3)
	p, err := consumers.New(consumers.Config{Name: "fulfilment", Database: pool, Broker: pulsar, Logger: quiet,
		Observer: consumers.Observer{Applied: func(consumers.Applied) { applied <- struct{}{} }}})
	if err != nil {
		fmt.Println(err)
		return
	}
	consumers.Handle(p, func(context.Context, pgx.Tx, consumers.Event[OrderPlaced]) error { return nil })
	ready := func() bool {
		all := p.Status()
		return len(all) > 0 && !slices.ContainsFunc(all, func(s consumers.PartitionStatus) bool { return !s.Connected || s.Err != nil })
	}

	fmt.Println("ready:", ready())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for range 3 {
		<-applied
	}
	fmt.Println("ready:", ready())
	for _, s := range p.Status() {
		fmt.Println(s.Topic, s.Partition, "up to ordinal", s.Ordinal, s.Position)
	}
	cancel()
	fmt.Println(<-done)
	// Output:
	// ready: false
	// ready: true
	// persistent://public/runnel/order 0 up to ordinal 3 00000001-0000000000000030-00000000
	// <nil>
}

// What is wrong with a projection is said before it runs.
func ExampleNew() {
	_, err := consumers.New(consumers.Config{Name: "Fulfilment"})
	fmt.Println(errors.Is(err, consumers.ErrConfig), err)
	// Output:
	// true PROJECTION_CONFIG Name "Fulfilment" is not of lower-case letters, digits and _, beginning with a letter, at most 50 bytes
}
