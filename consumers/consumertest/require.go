package consumertest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/consumerhook"
	"github.com/runnel-cdc/runnel/internal/linediff"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/outbox/outboxtest"
)

// RequireRows requires what a query returns: a text for each row, with its values
// as Postgres writes them, between " | ". NULL is null, and booleans are true and
// false. Unqualified names lead to the projection's schema, then to public; the time
// zone is UTC. Rows are in the order that the query asks for.
//
//	h.RequireRows("select id, status, shipped_at from orders order by id",
//		"o-1 | shipped | 2026-01-01 00:00:00+00",
//		"o-2 | placed | null")
func (h *Harness) RequireRows(query string, want ...string) {
	h.t.Helper()
	if diff := linediff.Diff(want, h.Rows(query)); diff != "" {
		h.t.Fatalf("%s (- wanted, + found):\n%s", query, diff)
	}
}

// Rows returns what RequireRows compares.
func (h *Harness) Rows(query string) (lines []string) {
	h.t.Helper()
	ctx := h.t.Context()
	tx, err := h.db.Begin(ctx)
	if err != nil {
		h.fatal("reading rows", err)
	}
	defer func() { _ = tx.Rollback(ctx) }() // nothing was written
	path := pgx.Identifier{h.about.Schema}.Sanitize() + ", public"
	if _, err := tx.Exec(ctx, "select set_config('search_path', $1, true), set_config('timezone', 'UTC', true)", path); err != nil {
		h.fatal("reading rows", err)
	}
	// Of the simple protocol, values are text.
	rows, err := tx.Query(ctx, query, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		h.fatal(query, err)
	}
	defer rows.Close()
	for rows.Next() {
		values := rows.RawValues()
		texts := make([]string, len(values))
		for i, v := range values {
			switch {
			case v == nil:
				texts[i] = "null"
			case rows.FieldDescriptions()[i].DataTypeOID == pgtype.BoolOID:
				texts[i] = map[string]string{"t": "true", "f": "false"}[string(v)]
			default:
				texts[i] = string(v)
			}
		}
		lines = append(lines, strings.Join(texts, " | "))
	}
	if err := rows.Err(); err != nil {
		h.fatal(query, err)
	}
	return lines
}

// parkedLimit bounds the parked events that are looked at.
const parkedLimit = 100_000

// Parked returns the events that are parked, are to be tried again, or wait behind
// one that does, in the order of their partitions. ParkedEvent.NextTry is by the
// clock, and Message.Decode works, as it does in a handler.
func (h *Harness) Parked() []consumers.ParkedEvent {
	h.t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unseen = nil
	return h.parked()
}

func (h *Harness) parked() []consumers.ParkedEvent {
	h.t.Helper()
	all, err := consumers.Parked(h.t.Context(), h.db, h.about.Name, consumers.ParkedFilter{}, parkedLimit)
	if err != nil {
		h.fatal("reading parked events", err)
	}
	for i := range all {
		// One that an earlier test left has its schema elsewhere; then Decode says so.
		_ = consumerhook.Complete(h.t.Context(), h.projection, h.registry, &all[i].Message)
	}
	return all
}

// RequireParked requires that these events are put aside, and no others: each as
// "TYPE AGGREGATE-ID STATE", with the states retrying, parked and behind of
// consumers.ParkedEvent. A test in which events are parked must call it, or Parked,
// after the last Apply.
//
//	h.RequireParked("OrderShipped o-1 parked", "OrderCancelled o-1 behind")
func (h *Harness) RequireParked(want ...string) {
	h.t.Helper()
	got, details := describeParked(h.Parked())
	if diff := linediff.Diff(want, got); diff != "" {
		h.t.Fatalf("parked events (- wanted, + found):\n%s%s", diff, strings.TrimSuffix(details, "\n"))
	}
}

// describeParked returns a line for each event, and the errors of those that failed,
// with what a test does about them.
func describeParked(all []consumers.ParkedEvent) (lines []string, details string) {
	for _, e := range all {
		lines = append(lines, fmt.Sprintf("%s %s %s", e.Message.Type, e.Message.AggregateID, e.State))
		if e.Error == "" {
			continue
		}
		details += fmt.Sprintf("%s of %s failed %d times, the last time for: %s\n", e.Message.Type, e.Message.AggregateID, e.Tries, e.Error)
		switch e.Code {
		case outbox.ErrNotMigrated.ID:
			details += "→ In a test, outboxtest.Migrate makes the outbox, before its transaction begins.\n"
		case outbox.ErrSchemaNotApplied.ID:
			details += "→ In a test, outboxtest.Migrate admits the type: give it its zero value.\n"
		}
	}
	return lines, details
}

// Discarded is an event that its handler gave up with consumers.Discard.
type Discarded struct {
	Message consumers.Message
	Err     error
}

// Discarded returns the events that handlers gave up, in the order of their
// partitions. What DiscardParked removes is not among them.
func (h *Harness) Discarded() []Discarded {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unseenDiscards = false
	return slices.Clone(h.discards)
}

// RequireDiscarded requires that handlers gave up these events since New, and no
// others, each as "TYPE AGGREGATE-ID". A test in which events are discarded must call
// it, or Discarded, after the last Apply.
func (h *Harness) RequireDiscarded(want ...string) {
	h.t.Helper()
	if diff := linediff.Diff(want, describeDiscarded(h.Discarded())); diff != "" {
		h.t.Fatalf("discarded events (- wanted, + found):\n%s", diff)
	}
}

func describeDiscarded(all []Discarded) (lines []string) {
	for _, d := range all {
		lines = append(lines, d.Message.Type+" "+d.Message.AggregateID)
	}
	return lines
}

// Published returns what the handlers have published to the outbox of the
// projection's database, in order, since New. With a pool, what others publish there
// is among it. OccurredAt is the machine's time where the handler did not set it.
func (h *Harness) Published() []outbox.Event {
	h.t.Helper()
	return outboxtest.Published(h.t, h.since)
}

// RequirePublished requires that the handlers have published these events since New,
// in this order, and no others; without events, none. See
// outboxtest.RequirePublished.
func (h *Harness) RequirePublished(want ...outbox.Event) {
	h.t.Helper()
	outboxtest.RequirePublished(h.t, h.since, want...)
}
