package evolvetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/shopspring/decimal"

	"github.com/runnel-cdc/runnel/internal/evolvetest/events"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// migration is what the new release needs of the old one's tables. The old one goes on
// beside it, and its orders come from the shop, as the default of the new field says.
const migration = "alter table orders add column channel text not null default 'shop'"

// release is the orders service of the new release. It changes orders of either release,
// so that one order's events are of both.
type release struct {
	db *pgxpool.Pool
}

// Run changes orders until ctx ends.
func (r *release) Run(ctx context.Context) error {
	const writers = 3
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(2, uint64(w)))
			tick := time.NewTicker(15 * time.Millisecond)
			defer tick.Stop()
			for n := 1; errs[w] == nil; n++ {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				// What was begun is finished, so that its outcome is known.
				errs[w] = r.change(context.WithoutCancel(ctx), random, fmt.Sprintf("n%d-%04d", w+1, n))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// change places an order or takes one a step further.
func (r *release) change(ctx context.Context, random *rand.Rand, id string) error {
	return pgx.BeginFunc(ctx, r.db, func(tx pgx.Tx) error {
		switch i := random.IntN(10); {
		case i < 3:
			return r.place(ctx, tx, random, id)
		case i < 5:
			method := []events.PaymentMethod{events.PaymentMethodTransfer, events.PaymentMethodWallet}[random.IntN(2)]
			return r.step(ctx, tx, "placed", "paid", "paid_by = '"+string(method)+"'", func(id string, total decimal.Decimal) schemas.Payload {
				return events.OrderPaid{OrderID: id, Amount: total, Method: method, PaidAt: time.Now()}
			})
		case i < 6:
			return r.step(ctx, tx, "paid", "shipped", "carrier = 'rail'", func(id string, _ decimal.Decimal) schemas.Payload {
				return events.OrderShipped{OrderID: id, Carrier: "rail", ShippedAt: time.Now()}
			})
		case i < 7: // its warehouse publishes JSON, as the old one's does
			return r.ship(ctx, tx)
		case i < 9:
			return r.step(ctx, tx, "shipped", "returned", "reason = 'too large'", func(id string, _ decimal.Decimal) schemas.Payload {
				return events.OrderReturned{OrderID: id, Reason: "too large", Parcels: 1, ReturnedAt: time.Now()}
			})
		default:
			return r.step(ctx, tx, "placed", "cancelled", "reason = 'too late'", func(id string, _ decimal.Decimal) schemas.Payload {
				return events.OrderCancelled{OrderID: id, Reason: "too late", CancelledAt: time.Now()}
			})
		}
	})
}

func (r *release) place(ctx context.Context, tx pgx.Tx, random *rand.Rand, id string) error {
	channel := []string{"shop", "phone", "market"}[random.IntN(3)]
	e := events.OrderPlaced{OrderID: id, CustomerID: uuid.New(), Currency: "EUR", Channel: channel, Total: decimal.New(int64(random.IntN(9999)), -2), PlacedAt: time.Now()}
	_, err := tx.Exec(ctx, `insert into orders (id, customer_id, status, lines, total, currency, channel) values ($1, $2, 'placed', 0, $3, 'EUR', $4)`,
		id, e.CustomerID, e.Total.String(), channel)
	if err != nil {
		return err
	}
	_, err = outbox.Publish(ctx, tx, outbox.Event{AggregateID: id, Payload: e})
	return err
}

// step takes an order of one status to another; of either release, whoever has it last.
func (r *release) step(ctx context.Context, tx pgx.Tx, from, to, set string, event func(id string, total decimal.Decimal) schemas.Payload) error {
	var id, total string
	err := tx.QueryRow(ctx, `update orders set status = $2, `+set+` where id = (
		select id from orders where status = $1 order by random() limit 1 for update skip locked) returning id, total::text`, from, to).Scan(&id, &total)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	sum, err := decimal.NewFromString(total)
	if err != nil {
		return err
	}
	_, err = outbox.Publish(ctx, tx, outbox.Event{AggregateID: id, Payload: event(id, sum)})
	return err
}

func (r *release) ship(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `with shipped as (
			update orders set status = 'shipped', carrier = 'road' where id = (
				select id from orders where status = 'paid' order by random() limit 1 for update skip locked) returning id)
		select runnel.publish('order', id, 'OrderShipped', jsonb_build_object('order_id', id, 'carrier', 'road', 'shipped_at', now())) from shipped`)
	return err
}
