package capture_test

import (
	"context"
	"fmt"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/router"
)

// Print what is committed to the outbox, and confirm it.
func Example() {
	ctx := context.Background()
	source, err := capture.Open(ctx, capture.Config{URL: "postgres://runnel_daemon@localhost/shop"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer source.Close()
	batches := make(chan *router.Batch, 8)
	go func() {
		for batch := range batches {
			for _, in := range batch.Inputs {
				switch in.Kind {
				case router.Row:
					fmt.Printf("%s %s %s\n", in.Event.Position, in.Event.Type, in.Event.AggregateID)
				case router.Commit, router.WALEnd:
					source.Confirm(in.LSN) // everything before it was printed
				}
			}
		}
	}()
	if err := source.Run(ctx, batches); err != nil {
		fmt.Println(err)
	}
}

func ExampleSlotName() {
	fmt.Println(capture.SlotName("orders"))
	fmt.Println(capture.SlotName("Orders-EU"))
	// Output:
	// runnel_orders
	// runnel_orders_eu_c2445934
}
