package capture_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
)

// Print what is committed to the outbox, and confirm it.
func Example() {
	shop, done := database() // a fresh one with an outbox
	defer done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	source, err := capture.Open(ctx, shop)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer source.Close()
	batches := make(chan *router.Batch, 8)
	ended := make(chan error, 1)
	go func() {
		ended <- source.Run(ctx, batches)
		close(batches)
	}()

	execute(shop.URL, `
		begin;
		select runnel.publish('order', '42', 'OrderPlaced', '{"total": 10}');
		select runnel.publish('order', '42', 'OrderPaid', '{}');
		commit;
		begin;
		select runnel.publish('order', '43', 'OrderPlaced', '{"total": 99}');
		rollback;
		select runnel.publish('order', '44', 'OrderPlaced', '{"total": 5}');`)

	for batch := range batches {
		for _, in := range batch.Inputs {
			switch in.Kind {
			case router.Row:
				fmt.Printf("%d %s %s %s\n", in.Event.Position.Index, in.Event.Type, in.Event.AggregateID, in.Event.Payload)
				if string(in.Event.AggregateID) == "44" {
					cancel() // or run until the service stops
				}
			case router.Commit, router.WALEnd:
				source.Confirm(in.LSN) // everything before it was printed
			}
		}
	}
	fmt.Println(<-ended)
	// Output:
	// 0 OrderPlaced 42 {"total": 10}
	// 1 OrderPaid 42 {}
	// 0 OrderPlaced 44 {"total": 5}
	// <nil>
}

func ExampleSlotName() {
	fmt.Println(capture.SlotName("orders"))
	fmt.Println(capture.SlotName("Orders-EU"))
	// Output:
	// runnel_orders
	// runnel_orders_eu_c2445934
}

// What is wrong with a slot, asked by whoever watches over it.
func ExampleReadSlot() {
	shop, done := database()
	defer done()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, shop.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = conn.Close(ctx) }()

	before, err := capture.ReadSlot(ctx, conn, shop.Slot)
	fmt.Println("exists:", before.Exists, err)

	source, err := capture.Open(ctx, shop) // makes it
	if err != nil {
		fmt.Println(err)
		return
	}
	source.Close()
	slot, err := capture.ReadSlot(ctx, conn, shop.Slot)
	fmt.Println("exists:", slot.Exists, slot.Plugin, slot.WALStatus, err)
	fmt.Println("keeps at least what is not confirmed:", slot.RetainedBytes() >= slot.LagBytes())
	fmt.Println("usable:", slot.CheckUsable(), slot.CheckOwner(conn.Config().Database))

	slot.WALStatus = "lost" // as the server shows it when max_slot_wal_keep_size is passed
	fmt.Println("lost:", errors.Is(slot.CheckUsable(), capture.ErrSlotLost))
	// Output:
	// exists: false <nil>
	// exists: true pgoutput reserved <nil>
	// keeps at least what is not confirmed: true
	// usable: <nil> <nil>
	// lost: true
}

// Some errors pass by themselves when the source is opened again; others would
// go on losing or hiding events, and wait for a person.
func ExampleHalts() {
	fmt.Println(capture.Halts(capture.ErrSlotForeign.New("slot x is another's")), capture.Halts(errors.New("connection reset")))
	// Output: true false
}

// Progress outlives the process: how far a pipeline got is read by the next run,
// and by the outbox's housekeeping.
func ExampleProgress() {
	shop, done := database()
	defer done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	progress, err := capture.NewProgress(ctx, shop)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer progress.Close()

	tail := capture.PartitionTail{Topic: "order", Partition: 3, Last: position.Stamp{
		Position: position.Position{Epoch: 1, LSN: 0x3be179b8}, Ordinal: 7}}
	confirmed := func() uint64 { return 1 << 62 } // router.State.Confirmed: everything is published
	tails := func() []capture.PartitionTail {
		cancel() // or run until the daemon stops
		return []capture.PartitionTail{tail}
	}
	if err := progress.Run(ctx, confirmed, tails); err != nil {
		fmt.Println(err)
	}

	saved, err := progress.Load(context.Background())
	fmt.Println(saved.ConfirmedLSN > 0, saved.Snapshot != "", err)
	for _, t := range saved.Tails {
		fmt.Println(t.Topic, t.Partition, t.Last)
	}
	// Output:
	// true true <nil>
	// order 3 00000001-000000003be179b8-00000000-0000000000000007
}

// database makes a database with an outbox. done drops it, and its slot.
func database() (shop capture.Config, done func()) {
	var t example
	db := pgtest.New(&t)
	roles := outbox.Roles{Owner: db.Role("owner"), Writer: db.Role("writer"), Daemon: db.Role("daemon")}
	if _, err := outbox.Init(context.Background(), db.Conn(&t), outbox.InitOptions{Roles: roles}); err != nil {
		t.Fatal(err)
	}
	return capture.Config{URL: db.URL(), Slot: db.Slot("slot")}, t.end
}

func execute(url, sql string) {
	var t example
	defer t.end()
	if _, err := pgtest.Conn(&t, url).Exec(context.Background(), sql); err != nil {
		t.Fatal(err)
	}
}

// example stands in for the test that an Example does not have.
type example struct {
	testing.TB
	cleanups []func()
}

func (t *example) end() {
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i]()
	}
}

func (*example) Helper()                        {}
func (t *example) Cleanup(f func())             { t.cleanups = append(t.cleanups, f) }
func (*example) Logf(string, ...any)            {}
func (*example) Fatal(args ...any)              { panic(fmt.Sprint(args...)) }
func (*example) Fatalf(text string, a ...any)   { panic(fmt.Sprintf(text, a...)) }
func (t *example) Errorf(text string, a ...any) { t.Fatalf(text, a...) }
func (t *example) Error(args ...any)            { t.Fatal(args...) }
