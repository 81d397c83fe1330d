package outbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/schemas"
)

// Querier runs one query that returns one row: a *pgx.Conn, a pgx.Tx, a
// *pgxpool.Pool.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// RegisteredType is a version of an event that writers may publish.
type RegisteredType struct {
	Name, AggregateType string
	Fingerprint         schemas.Fingerprint
}

// EventTypes returns the versions of events that writers may publish, by name and
// fingerprint; none when everything is admitted, or when there is no outbox yet. Owner,
// writer and daemon may call it.
func EventTypes(ctx context.Context, db *pgx.Conn) ([]RegisteredType, error) {
	rows, _ := db.Query(ctx, "select name, aggregate_type, fingerprint from runnel.event_type order by name collate \"C\", fingerprint")
	types, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t RegisteredType, err error) {
		var fp []byte
		if err = row.Scan(&t.Name, &t.AggregateType, &fp); err == nil && copy(t.Fingerprint[:], fp) != len(t.Fingerprint) {
			err = fmt.Errorf("a fingerprint of %s has %d bytes", t.Name, len(fp))
		}
		return t, err
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000") { // no such table, no such schema
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the registered event types: %w", databaseError(err))
	}
	return types, nil
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

// WithdrawEventTypes takes event types away from those that writers may publish, in all
// versions; writers are refused from then on. What is in the outbox is published all the
// same. Owner and daemon may call it. It returns ErrInvalid when no type would be left,
// since then everything is admitted.
func WithdrawEventTypes(ctx context.Context, db Querier, names ...string) error {
	var gone int
	if err := db.QueryRow(ctx, "select runnel.withdraw_event_types($1)", names).Scan(&gone); err != nil {
		return fmt.Errorf("withdraw event types: %w", databaseError(err))
	}
	return nil
}
