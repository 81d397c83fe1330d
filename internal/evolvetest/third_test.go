package evolvetest

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/evolvetest/events"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
	"github.com/runnel-cdc/runnel/schemas/avro"
)

// What a third release would change, each in a way that older readers cannot take.
var (
	renamed  = change{"OrderShipped.avsc", `{"name": "carrier",`, `{"name": "carried_by", "aliases": ["carrier"],`}
	widened  = change{"OrderReturned.avsc", `"parcels", "type": "int"`, `"parcels", "type": "long"`}
	required = change{"OrderCancelled.avsc", `    {"name": "reason", "type": "string", "doc": "Why, in the customer's or our words."},` + "\n", ""}
)

// thirdCatalog is the new release's catalog with all three changes.
var thirdCatalog = sync.OnceValues(func() (*schemas.Catalog, error) {
	files := fstest.MapFS{}
	names, err := os.ReadDir(newCatalog)
	for _, n := range names {
		text, failed := os.ReadFile(newCatalog + "/" + n.Name())
		err = errors.Join(err, failed)
		files[n.Name()] = &fstest.MapFile{Data: text}
	}
	for _, c := range []change{renamed, widened, required} {
		text, failed := c.of(files[c.file].Data)
		err = errors.Join(err, failed)
		files[c.file].Data = text
	}
	if err != nil {
		return nil, err
	}
	return schemas.Load(files, ".")
})

func thirdEvent(name string) *schemas.EventType {
	catalog, err := thirdCatalog()
	if err != nil {
		panic(err)
	}
	e, _ := catalog.Event(name)
	return e
}

// The third release's events, as generated types are.
type (
	thirdShipped struct {
		OrderID, CarriedBy string
		At                 time.Time
	}
	thirdReturned struct {
		OrderID, Reason string
		Parcels         int64
		At              time.Time
	}
	thirdCancelled struct {
		OrderID string
		At      time.Time
	}
)

func (thirdShipped) EventType() *schemas.EventType   { return thirdEvent("OrderShipped") }
func (thirdReturned) EventType() *schemas.EventType  { return thirdEvent("OrderReturned") }
func (thirdCancelled) EventType() *schemas.EventType { return thirdEvent("OrderCancelled") }

func (e thirdShipped) AppendAvro(dst []byte) ([]byte, error) {
	dst, err := avro.AppendString(dst, e.OrderID)
	if err == nil {
		dst, err = avro.AppendString(dst, e.CarriedBy)
	}
	if err != nil {
		return dst, err
	}
	return avro.AppendTimestampMicros(dst, e.At)
}

func (e *thirdShipped) DecodeAvro(data []byte) error {
	r := avro.NewReader(data)
	e.OrderID, e.CarriedBy, e.At = r.String(), r.String(), r.TimestampMicros()
	return r.Close()
}

func (e thirdReturned) AppendAvro(dst []byte) ([]byte, error) {
	dst, err := avro.AppendString(dst, e.OrderID)
	if err == nil {
		dst, err = avro.AppendString(dst, e.Reason)
	}
	if err != nil {
		return dst, err
	}
	return avro.AppendTimestampMicros(avro.AppendLong(dst, e.Parcels), e.At)
}

func (e *thirdReturned) DecodeAvro(data []byte) error {
	r := avro.NewReader(data)
	e.OrderID, e.Reason, e.Parcels, e.At = r.String(), r.String(), r.Long(), r.TimestampMicros()
	return r.Close()
}

func (e thirdCancelled) AppendAvro(dst []byte) ([]byte, error) {
	dst, err := avro.AppendString(dst, e.OrderID)
	if err != nil {
		return dst, err
	}
	return avro.AppendTimestampMicros(dst, e.At)
}

func (e *thirdCancelled) DecodeAvro(data []byte) error {
	r := avro.NewReader(data)
	e.OrderID, e.At = r.String(), r.TimestampMicros()
	return r.Close()
}

// third is the third release's copy of the orders. It knows no reason of a cancellation.
func third(cfg consumers.Config) (*consumers.Projection, error) {
	cfg.Name = "third"
	cfg.Migrate = func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `create table orders (id text primary key, status text not null, carrier text, parcels bigint)`)
		return err
	}
	p, err := consumers.New(cfg)
	if err != nil {
		return nil, err
	}
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderPlaced]) error {
		_, err := tx.Exec(ctx, `insert into orders (id, status) values ($1, 'placed')`, e.Payload.OrderID)
		return err
	})
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderPaid]) error {
		return step(tx.Exec(ctx, `update orders set status = 'paid' where id = $1 and status = 'placed'`, e.Payload.OrderID))
	})
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[thirdShipped]) error {
		return step(tx.Exec(ctx, `update orders set status = 'shipped', carrier = $2 where id = $1 and status = 'paid'`, e.Payload.OrderID, e.Payload.CarriedBy))
	})
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[thirdReturned]) error {
		return step(tx.Exec(ctx, `update orders set status = 'returned', parcels = $2 where id = $1 and status = 'shipped'`, e.Payload.OrderID, e.Payload.Parcels))
	})
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[thirdCancelled]) error {
		return step(tx.Exec(ctx, `update orders set status = 'cancelled' where id = $1 and status in ('placed', 'paid')`, e.Payload.OrderID))
	})
	return p, nil
}

// publishThird takes one order a step further for each event of the third release.
func publishThird(ctx context.Context, db *pgxpool.Pool) error {
	for _, s := range []struct {
		from, to, set string
		event         func(id string) schemas.Payload
	}{
		{"placed", "cancelled", "reason = null", func(id string) schemas.Payload { return thirdCancelled{id, time.Now()} }},
		{"shipped", "returned", "reason = 'dented', parcels = 5000000000", func(id string) schemas.Payload { return thirdReturned{id, "dented", 5_000_000_000, time.Now()} }},
		{"paid", "shipped", "carrier = 'mule'", func(id string) schemas.Payload { return thirdShipped{id, "mule", time.Now()} }},
	} {
		err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			var id string
			err := tx.QueryRow(ctx, `update orders set status = $2, `+s.set+` where id = (
				select id from orders where status = $1 order by id limit 1 for update skip locked) returning id`, s.from, s.to).Scan(&id)
			if err == nil {
				_, err = outbox.Publish(ctx, tx, outbox.Event{AggregateID: id, Payload: s.event(id)})
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
