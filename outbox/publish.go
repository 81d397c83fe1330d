package outbox

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/eventctx"
	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// Publisher publishes events with settings of its own. The zero value is what
// the package's functions use. It is safe for concurrent use.
type Publisher struct {
	// MaxBytes is the largest event accepted: payload, key and headers. Default
	// DefaultMaxBytes. Raise it together with maxMessageSize on the brokers.
	MaxBytes int
}

// Publish writes events into the outbox within tx: they are published if and
// only if tx commits. All are validated and encoded before anything is sent;
// then one INSERT in one round trip writes all or none. Without events it does
// nothing.
//
// Events of one aggregate keep their order of commit; writers must lock the
// aggregate's row, or two transactions may commit in either order.
//
// Errors: ErrInvalid and ErrTooLarge before anything was sent. From the
// INSERT, with tx aborted: ErrSchemaNotApplied, ErrNotMigrated, ErrForbidden, or
// the database's own.
func Publish(ctx context.Context, tx pgx.Tx, events ...Event) (Receipt, error) {
	return Publisher{}.Publish(ctx, tx, events...)
}

// PublishSQL is Publish for database/sql, with any driver for Postgres.
// More than 1,000 events take a round trip for each 1,000.
func PublishSQL(ctx context.Context, tx *sql.Tx, events ...Event) (Receipt, error) {
	return Publisher{}.PublishSQL(ctx, tx, events...)
}

func (p Publisher) maxBytes() int {
	if p.MaxBytes <= 0 {
		return DefaultMaxBytes
	}
	return p.MaxBytes
}

// insertRows is one statement for any number of events, so that it is prepared
// once. unnest gives the rows in the order of the arrays, which is the order
// in the WAL, and so the order of positions.
const insertRows = `insert into runnel.outbox
	(id, aggregate_type, aggregate_id, event_type, encoding, fingerprint, payload, headers, occurred_at)
select id, aggregate_type, aggregate_id, event_type, 1, fingerprint, payload, headers::jsonb, occurred_at
  from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[], $7::text[], $8::timestamptz[])
    as e(id, aggregate_type, aggregate_id, event_type, fingerprint, payload, headers, occurred_at)`

// Publish is the package's Publish with p's settings.
func (p Publisher) Publish(ctx context.Context, tx pgx.Tx, events ...Event) (Receipt, error) {
	rows, err := encode(events, eventctx.Headers(ctx), p.maxBytes())
	if err != nil || len(rows) == 0 {
		return Receipt{}, err
	}
	n := len(rows)
	ids := make([]string, n) // as text: the simple protocol knows no arrays of uuid
	aggregateTypes, aggregateIDs, eventTypes := make([]string, n), make([]string, n), make([]string, n)
	fingerprints, payloads := make([][]byte, n), make([][]byte, n)
	headers, times := make([]string, n), make([]time.Time, n)
	for i := range rows {
		r := &rows[i]
		ids[i], aggregateTypes[i], aggregateIDs[i], eventTypes[i] = r.id.String(), r.aggregateType, r.aggregateID, r.eventType
		fingerprints[i], payloads[i], headers[i], times[i] = r.fingerprint, r.payload, r.headers, r.occurredAt
	}
	_, err = tx.Exec(ctx, insertRows, ids, aggregateTypes, aggregateIDs, eventTypes, fingerprints, payloads, headers, times)
	if err != nil {
		return Receipt{}, fmt.Errorf("publish %d events: %w", n, databaseError(err))
	}
	return newReceipt(rows), nil
}

// sqlChunk rows of 8 parameters stay far below the protocol's 65,535.
const sqlChunk = 1000

// PublishSQL is the package's PublishSQL with p's settings.
func (p Publisher) PublishSQL(ctx context.Context, tx *sql.Tx, events ...Event) (Receipt, error) {
	rows, err := encode(events, eventctx.Headers(ctx), p.maxBytes())
	if err != nil || len(rows) == 0 {
		return Receipt{}, err
	}
	for start := 0; start < len(rows); start += sqlChunk {
		chunk := rows[start:min(start+sqlChunk, len(rows))]
		query, args := insertValues(chunk)
		if _, err := tx.ExecContext(ctx, query, args...); err != nil {
			return Receipt{}, fmt.Errorf("publish %d events: %w", len(rows), databaseError(err))
		}
	}
	return newReceipt(rows), nil
}

// insertValues uses scalar parameters only: how an array is passed differs
// between drivers.
func insertValues(rows []row) (query string, args []any) {
	var b strings.Builder
	b.WriteString("insert into runnel.outbox (id, aggregate_type, aggregate_id, event_type, encoding, fingerprint, payload, headers, occurred_at) values ")
	args = make([]any, 0, 8*len(rows))
	for i := range rows {
		r := &rows[i]
		if i > 0 {
			b.WriteString(", ")
		}
		n := len(args)
		fmt.Fprintf(&b, "($%d::uuid, $%d::text, $%d::text, $%d::text, 1, $%d::bytea, $%d::bytea, $%d::jsonb, $%d::timestamptz)",
			n+1, n+2, n+3, n+4, n+5, n+6, n+7, n+8)
		args = append(args, r.id.String(), r.aggregateType, r.aggregateID, r.eventType, r.fingerprint, r.payload, r.headers, r.occurredAt)
	}
	return b.String(), args
}

// databaseError gives the database's errors that a person can act on their
// codes.
func databaseError(err error) error {
	switch pgfault.State(err) {
	case stateUnknownType, stateUnknownSchema:
		return ErrSchemaNotApplied.Wrap(err, "the database refused an event")
	case stateInvalid, "23514": // check_violation
		return ErrInvalid.Wrap(err, "the database refused an event")
	case stateUnfit:
		return hinted(ErrNotWatchable.Wrap(err, "the database refused"))
	case stateRefused:
		return hinted(ErrRowRefused.Wrap(err, "the database refused a row"))
	case stateAltered:
		return hinted(ErrTableAltered.Wrap(err, "the database refused a row"))
	case stateOtherwise:
		return hinted(ErrWatchedOtherwise.Wrap(err, "the database refused"))
	case "42P01", "42703", "42883", "3F000": // undefined table, column, function, schema
		return ErrNotMigrated.Wrap(err, "the outbox is missing or too old")
	case "42501": // insufficient_privilege
		return ErrForbidden.Wrap(err, "the current user may not do this")
	}
	return err
}
