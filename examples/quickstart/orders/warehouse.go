package orders

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// ship is plain SQL: what a program in any language would send. The update and
// the event commit together, because they are one statement.
const ship = `with shipped as (
	update orders set status = 'shipped', carrier = $2, tracking = $3
	 where id = $1 and status = 'paid'
	returning id, carrier, tracking
)
select runnel.publish('order', id, 'OrderShipped', jsonb_build_object(
	'order_id', id, 'carrier', carrier, 'tracking', tracking, 'shipped_at', now()))
  from shipped`

// Warehouse ships orders. It knows neither Go types nor Avro: it publishes JSON.
type Warehouse struct {
	DB *pgxpool.Pool
	// Publishing, if set, is told of an event just before its commit.
	Publishing func(id uuid.UUID)
}

// Ship marks a paid order as shipped and publishes OrderShipped. It returns
// ErrNotPossible for any other order.
func (w *Warehouse) Ship(ctx context.Context, id, carrier string, tracking *string) error {
	return pgx.BeginFunc(ctx, w.DB, func(tx pgx.Tx) error {
		var event uuid.UUID
		err := tx.QueryRow(ctx, ship, id, carrier, tracking).Scan(&event)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrNotPossible
		}
		if err == nil && w.Publishing != nil {
			w.Publishing(event)
		}
		return err
	})
}
