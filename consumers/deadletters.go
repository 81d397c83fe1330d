package consumers

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/position"
)

// ParkedEvent is an event that was put aside: it failed, or waits behind one of
// its key that did. Its bytes are as they were received.
type ParkedEvent struct {
	Version       int     // of the projection
	Message       Message // without AggregateType; Decode does not work without the registry
	SchemaVersion int64   // of the topic's schema that Payload was written with
	Payload       []byte
	State         string    // retrying: tried again at NextTry; parked: waits for a person; behind: waits for an earlier one of its key
	Tries         int       // that failed
	Code          string    // of the last error, where it has one: EVENT_UNDECODABLE
	Error         string    // its text, at most 2,000 bytes
	ParkedAt      time.Time // when it was put aside first, by the instance's clock
	NextTry       time.Time // zero unless retrying
}

// ParkedFilter selects parked events; what is empty selects all.
type ParkedFilter struct {
	ID      uuid.UUID // of the event
	Type    string    // event type
	Key     string    // the aggregate's id
	Code    string    // of the error
	Version int       // of the projection: during a rebuild two may have parked the same event
}

// where returns the filter as SQL, after args, and the arguments.
func (f ParkedFilter) where(args []any) (string, []any) {
	var b strings.Builder
	add := func(column string, value any) {
		args = append(args, value)
		fmt.Fprintf(&b, " and %s = $%d", column, len(args))
	}
	if f.ID != uuid.Nil {
		add("event_id", f.ID)
	}
	if f.Type != "" {
		add("event_type", f.Type)
	}
	if f.Key != "" {
		add("key", f.Key)
	}
	if f.Code != "" {
		add("error_code", f.Code)
	}
	if f.Version != 0 {
		add("version", f.Version)
	}
	return b.String(), args
}

// Parked returns a projection's parked events, at most limit, in the order of
// their topic partitions. It works from any process with access to the
// projection's database. Where no projection ever ran there are none.
func Parked(ctx context.Context, db Querier, projection string, filter ParkedFilter, limit int) ([]ParkedEvent, error) {
	if made, err := hasParked(ctx, db); err != nil || !made {
		return nil, err
	}
	where, args := filter.where([]any{projection, limit})
	rows, err := db.Query(ctx, `select version, topic, partition, ordinal, position, key, event_id, event_type, occurred_at, published_at,
			headers, schema_version, payload, state, tries, error_code, error, parked_at, next_try
		from runnel_projections.parked where projection = $1`+inUse+where+` order by version, topic, partition, ordinal limit $2`, args...)
	if err != nil {
		return nil, fmt.Errorf("reading parked events: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (ParkedEvent, error) {
		var e ParkedEvent
		m := &e.Message
		var ordinal int64
		var at string
		var headers []byte
		var next *time.Time
		err := row.Scan(&e.Version, &m.Topic, &m.Partition, &ordinal, &at, &m.AggregateID, &m.ID, &m.Type, &m.OccurredAt, &m.PublishedAt,
			&headers, &e.SchemaVersion, &e.Payload, &e.State, &e.Tries, &e.Code, &e.Error, &e.ParkedAt, &next)
		if err == nil {
			m.Position, err = position.Parse(at)
		}
		if err == nil {
			err = json.Unmarshal(headers, &m.Headers)
		}
		if next != nil {
			e.NextTry = *next
		}
		m.Ordinal, m.payload, m.schema = uint64(ordinal), e.Payload, e.SchemaVersion
		return e, err
	})
}

// CountParked returns how many events match.
func CountParked(ctx context.Context, db Querier, projection string, filter ParkedFilter) (int, error) {
	if made, err := hasParked(ctx, db); err != nil || !made {
		return 0, err
	}
	where, args := filter.where([]any{projection})
	rows, err := db.Query(ctx, "select count(*)::int from runnel_projections.parked where projection = $1"+inUse+where, args...)
	if err != nil {
		return 0, fmt.Errorf("reading parked events: %w", err)
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[int])
}

// inUse leaves out what was parked in an old copy, which nobody would try again.
const inUse = ` and version not in (select p.version from runnel_projections.projection p where p.name = $1 and p.state = 'old')`

// hasParked reports whether the database has the table of parked events.
func hasParked(ctx context.Context, db Querier) (bool, error) {
	rows, err := db.Query(ctx, "select to_regclass('runnel_projections.parked') is not null")
	if err != nil {
		return false, fmt.Errorf("reading parked events: %w", err)
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
}

// Beginner is what RetryParked and DiscardParked need: a *pgxpool.Pool or *pgx.Conn.
type Beginner interface {
	Querier
	Begin(ctx context.Context) (pgx.Tx, error)
}

// RetryParked makes parked events due, which a running instance of the projection
// then tries: those that match, or the first ones of their keys, with all that
// wait behind, in order. It returns how many keys that are. Interrupted, it may
// have done a part; done again, it does the rest.
func RetryParked(ctx context.Context, db Beginner, projection string, filter ParkedFilter) (keys int, err error) {
	return retryParked(ctx, db, projection, filter, nil)
}

// retryParked makes events due at a time; nil: now, by the database's clock.
func retryParked(ctx context.Context, db Beginner, projection string, filter ParkedFilter, at *time.Time) (keys int, err error) {
	where, args := filter.where([]any{projection})
	err = eachParkedPartition(ctx, db, projection, where, args, func(tx pgx.Tx, of []any) error {
		where, args := filter.where(append(of[:4:4], at))
		tag, err := tx.Exec(ctx, `update runnel_projections.parked set state = 'retrying', tries = 0, next_try = coalesce($5::timestamptz, clock_timestamp())
			where projection = $1 and version = $2 and topic = $3 and partition = $4 and state <> 'behind'
			and key in (select key from runnel_projections.parked
				where projection = $1 and version = $2 and topic = $3 and partition = $4`+where+`)`, args...)
		keys += int(tag.RowsAffected())
		return err
	})
	return keys, err
}

// DiscardParked removes the parked events that match and returns how many: the copy
// will never hold them; one that is built later has them from the topic again. What waited behind the last of them that a key had is due then. Interrupted,
// it may have done a part; done again, it does the rest.
func DiscardParked(ctx context.Context, db Beginner, projection string, filter ParkedFilter) (events int, err error) {
	return discardParked(ctx, db, projection, filter, nil)
}

// discardParked makes what waited behind due at a time; nil: now, by the database's
// clock.
func discardParked(ctx context.Context, db Beginner, projection string, filter ParkedFilter, at *time.Time) (events int, err error) {
	where, args := filter.where([]any{projection})
	err = eachParkedPartition(ctx, db, projection, where, args, func(tx pgx.Tx, of []any) error {
		where, args := filter.where(of)
		tag, err := tx.Exec(ctx, `delete from runnel_projections.parked
			where projection = $1 and version = $2 and topic = $3 and partition = $4`+where, args...)
		if err != nil {
			return err
		}
		events += int(tag.RowsAffected())
		if _, err := tx.Exec(ctx, `update runnel_projections.parked e set state = 'retrying', tries = 0, next_try = coalesce($5::timestamptz, clock_timestamp())
			where projection = $1 and version = $2 and topic = $3 and partition = $4 and state = 'behind'
			and not exists (select from runnel_projections.parked before
				where projection = $1 and version = $2 and topic = $3 and partition = $4 and before.key = e.key and before.ordinal < e.ordinal)`,
			append(of[:4:4], at)...); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `update runnel_projections.position set parked = parked - $5
			where projection = $1 and version = $2 and topic = $3 and partition = $4`, append(of[:4:4], tag.RowsAffected())...)
		return err
	})
	return events, err
}

// eachParkedPartition calls do for every topic partition with parked events that
// match, each in a transaction that holds the lock on its position's row, as a
// worker's does. of is the row's key.
func eachParkedPartition(ctx context.Context, db Beginner, projection, where string, args []any, do func(tx pgx.Tx, of []any) error) error {
	if made, err := hasParked(ctx, db); err != nil || !made {
		return err
	}
	rows, err := db.Query(ctx, `select distinct version, topic, partition from runnel_projections.parked where projection = $1`+inUse+where+
		` order by 1, 2, 3`, args...)
	if err != nil {
		return fmt.Errorf("reading parked events: %w", err)
	}
	type partition struct {
		Version   int
		Topic     string
		Partition int
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[partition])
	if err != nil {
		return fmt.Errorf("reading parked events: %w", err)
	}
	for _, p := range all {
		of := []any{projection, p.Version, p.Topic, p.Partition}
		if err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, readCommitted); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `select from runnel_projections.position
				where projection = $1 and version = $2 and topic = $3 and partition = $4 for update`, of...); err != nil {
				return err
			}
			return do(tx, of)
		}); err != nil {
			return fmt.Errorf("changing the parked events of %s, partition %d: %w", p.Topic, p.Partition, err)
		}
	}
	return nil
}
