package consumertest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("RUNNEL_POSTGRES_URL") == "" && os.Getenv("RUNNEL_TEST_SERVERS") != "required" {
		_ = flag.Set("test.skip", "^Example") // an Example can't skip itself
	}
	goleak.VerifyTestMain(m)
}

// The events of these tests, as `runnel schemas gen go` would write them: all with
// the same two fields.
type body struct {
	N    int64
	Note string
}

func (b body) AppendAvro(dst []byte) ([]byte, error) {
	dst = binary.AppendVarint(binary.AppendVarint(dst, b.N), int64(len(b.Note)))
	return append(dst, b.Note...), nil
}

func (b *body) DecodeAvro(data []byte) error {
	n, i := binary.Varint(data)
	if i <= 0 {
		return errors.New("no number")
	}
	length, j := binary.Varint(data[i:])
	if j <= 0 || int64(len(data)-i-j) != length {
		return errors.New("no note")
	}
	b.N, b.Note = n, string(data[i+j:])
	return nil
}

func eventType(name, aggregate string) *schemas.EventType {
	return schemas.MustEventType(fmt.Sprintf(`{"type":"record","name":%q,"aggregate":%q,"fields":[
		{"name":"n","type":"long"},{"name":"note","type":"string","default":"none"}]}`, name, aggregate))
}

var (
	placedType  = eventType("OrderPlaced", "order")
	shippedType = eventType("OrderShipped", "order")
	packedType  = eventType("ParcelPacked", "parcel")
	sentType    = eventType("ParcelSent", "shipment")
	oldType     = schemas.MustEventType(`{"type":"record","name":"OrderPlaced","aggregate":"order","fields":[{"name":"n","type":"long"}]}`)
)

type (
	OrderPlaced  struct{ body }
	OrderShipped struct{ body }
	ParcelPacked struct{ body }
	ParcelSent   struct{ body }
	// OrderPlacedOld is OrderPlaced before it had a note.
	OrderPlacedOld struct{ N int64 }
)

func (OrderPlaced) EventType() *schemas.EventType    { return placedType }
func (OrderShipped) EventType() *schemas.EventType   { return shippedType }
func (ParcelPacked) EventType() *schemas.EventType   { return packedType }
func (ParcelSent) EventType() *schemas.EventType     { return sentType }
func (OrderPlacedOld) EventType() *schemas.EventType { return oldType }

func (o OrderPlacedOld) AppendAvro(dst []byte) ([]byte, error) {
	return binary.AppendVarint(dst, o.N), nil
}

func placed(id string, n int64, note string) outbox.Event {
	return outbox.Event{AggregateID: id, Payload: OrderPlaced{body{n, note}}}
}

func shipped(id string, n int64) outbox.Event {
	return outbox.Event{AggregateID: id, Payload: OrderShipped{body{n, ""}}}
}

// orders is a projection with a table of orders, and with handlers of the test's.
func orders(retry consumers.Retry, register func(*consumers.Projection)) func(consumers.Config) (*consumers.Projection, error) {
	return func(cfg consumers.Config) (*consumers.Projection, error) {
		cfg.Name, cfg.Retry = "orders", retry
		cfg.Migrate = func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "create table orders (id text primary key, notes text not null default '', applied int not null default 1)")
			return err
		}
		p, err := consumers.New(cfg)
		if err == nil {
			register(p)
		}
		return p, err
	}
}

// note is a handler that keeps an order's notes in their order.
func note(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
	_, err := tx.Exec(ctx, `insert into orders (id, notes) values ($1, $2)
		on conflict (id) do update set notes = orders.notes || ', ' || $2, applied = orders.applied + 1`, e.AggregateID, e.Payload.Note)
	return err
}

func handleNote(p *consumers.Projection) { consumers.Handle(p, note) }
