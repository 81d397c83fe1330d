package outboxtest

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgfault"
	"github.com/runnel-cdc/runnel/outbox"
)

// Querier is where published events are looked for: a pgx.Tx, or what Since
// returns.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// Outbox is the outbox from a moment on. Make it with Since.
type Outbox struct {
	Querier
	after int64 // the largest seq that was there
}

// Since returns the outbox from now on, for code that commits by itself: what
// db sees of it later counts, whichever transaction wrote it. db is a
// *pgxpool.Pool, *pgx.Conn or pgx.Tx. A database that has no outbox yet may get one
// later.
func Since(t testing.TB, db Querier) *Outbox {
	t.Helper()
	o := &Outbox{Querier: db}
	rows, err := db.Query(t.Context(), "select to_regclass('runnel.outbox') is not null")
	there, err := collectOne[bool](rows, err)
	if err == nil && there {
		rows, err = db.Query(t.Context(), "select coalesce(max(seq), 0) from runnel.outbox")
		o.after, err = collectOne[int64](rows, err)
	}
	if err != nil {
		fatal(t, "looking for the outbox", err)
	}
	return o
}

func collectOne[T any](rows pgx.Rows, err error) (one T, _ error) {
	if err != nil {
		return one, err
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[T])
}

// Published returns the events that a transaction has written so far, in the order
// in which they were, with what savepoints kept of them; of an *Outbox, those since
// then. Their payloads print as JSON, can be published and given to a projection
// again, and are decoded by Decode.
func Published(t testing.TB, tx Querier) []outbox.Event {
	t.Helper()
	where, args := "xid = pg_current_xact_id_if_assigned()", []any(nil)
	switch from := tx.(type) {
	case *Outbox:
		where, args = "seq > $1", []any{from.after}
	case pgx.Tx:
	default:
		t.Fatalf("%T: outboxtest reads the events of one transaction; give a pgx.Tx, or what Since returned before", tx)
	}
	rows, err := tx.Query(t.Context(), publishedSQL+where+" order by seq", args...)
	if err != nil {
		fatal(t, "reading the outbox", err)
	}
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (outbox.Event, error) { return scan(row.Scan) })
	if err != nil {
		fatal(t, "reading the outbox", err)
	}
	return events
}

// PublishedSQL is Published for database/sql.
func PublishedSQL(t testing.TB, tx *sql.Tx) (events []outbox.Event) {
	t.Helper()
	rows, err := tx.QueryContext(t.Context(), publishedSQL+"xid = pg_current_xact_id_if_assigned() order by seq")
	if err != nil {
		fatal(t, "reading the outbox", err)
	}
	defer func() { _ = rows.Close() }() // Err tells
	for rows.Next() {
		e, err := scan(rows.Scan)
		if err != nil {
			fatal(t, "reading the outbox", err)
		}
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		fatal(t, "reading the outbox", err)
	}
	return events
}

// The column xid is that of the whole transaction, whatever savepoint wrote.
const publishedSQL = `select id::text, aggregate_type, aggregate_id, event_type, encoding = 2, fingerprint, payload, headers::text, occurred_at
	from runnel.outbox where `

// scan reads a row of publishedSQL.
func scan(into func(...any) error) (outbox.Event, error) {
	var e outbox.Event
	var id, aggregateType, eventType, headers string
	var isJSON bool
	var fingerprint, data []byte
	var occurred time.Time
	err := into(&id, &aggregateType, &e.AggregateID, &eventType, &isJSON, &fingerprint, &data, &headers, &occurred)
	if err != nil {
		return e, err
	}
	if e.ID, err = uuid.Parse(id); err != nil {
		return e, err
	}
	if err := json.Unmarshal([]byte(headers), &e.Headers); err != nil {
		return e, fmt.Errorf("headers of %s: %w", id, err)
	}
	e.OccurredAt = occurred.UTC()
	e.Payload = newPayload(eventType, aggregateType, fingerprint, data, isJSON)
	return e, nil
}

// fatal fails the test, with the remedy where there is one.
func fatal(t testing.TB, what string, err error) {
	t.Helper()
	if f := fault.Find(err); f != nil {
		t.Fatalf("%s: %v\n→ %s", what, err, f.WhatToDo())
	}
	switch pgfault.State(err) {
	case "42P01", "3F000":
		t.Fatalf("%s: %v\n→ Make it in the test's database with outboxtest.Migrate.", what, err)
	case "42501":
		t.Fatalf("%s: %v\n→ Services may write the outbox and not read it: run the test as the outbox's owner.", what, err)
	case "25P02":
		t.Fatalf("%s: %v\n→ A statement of the transaction failed before.", what, err)
	}
	t.Fatalf("%s: %v", what, err)
}
