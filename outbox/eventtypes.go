package outbox

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/schemas"
)

// Querier runs one query that returns one row: a *pgx.Conn, a pgx.Tx, a
// *pgxpool.Pool.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// RegisterEventTypes adds event types to those that writers may publish and
// returns how many were new. It never removes one. From the first one on,
// types that were not registered are refused. Owner and daemon may call it.
func RegisterEventTypes(ctx context.Context, db Querier, types []*schemas.EventType) (added int, err error) {
	names := make([]string, len(types))
	aggregates := make([]string, len(types))
	fingerprints := make([][]byte, len(types))
	for i, t := range types {
		names[i], aggregates[i], fingerprints[i] = t.Name, t.AggregateType, t.Fingerprint[:]
	}
	err = db.QueryRow(ctx, "select runnel.register_event_types($1, $2, $3)",
		names, aggregates, fingerprints).Scan(&added)
	if err != nil {
		return 0, fmt.Errorf("register event types: %w", databaseError(err))
	}
	return added, nil
}
