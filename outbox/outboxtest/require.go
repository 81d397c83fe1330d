package outboxtest

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/internal/linediff"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// RequirePublished requires that a transaction has published these events so far,
// in this order, and no others; of what Since returned, that they were published
// since then. They are compared by aggregate id, event type and payload; by ID,
// OccurredAt and each of the Headers where want has them. It fails the test at once,
// with the difference.
func RequirePublished(t testing.TB, tx Querier, want ...outbox.Event) {
	t.Helper()
	require(t, want, Published(t, tx))
}

// RequirePublishedSQL is RequirePublished for database/sql.
func RequirePublishedSQL(t testing.TB, tx *sql.Tx, want ...outbox.Event) {
	t.Helper()
	require(t, want, PublishedSQL(t, tx))
}

// RequireNothingPublished is RequirePublished without events.
func RequireNothingPublished(t testing.TB, tx Querier) {
	t.Helper()
	RequirePublished(t, tx)
}

func require(t testing.TB, want, got []outbox.Event) {
	t.Helper()
	for i, e := range want {
		if e.Payload == nil {
			t.Fatalf("want[%d], of %s, has no Payload", i, e.AggregateID)
		}
		if _, read := e.Payload.(*payload); read {
			continue // was published
		}
		if _, err := e.Payload.AppendAvro(nil); err != nil {
			fatal(t, fmt.Sprintf("want[%d], of %s, can't be published", i, e.AggregateID), err)
		}
	}
	if diff := linediff.Diff(describe(want, want, got), describe(got, want, got)); diff != "" {
		t.Fatalf("published events (- wanted, + published):\n%s", diff)
	}
}

// describe returns events as lines, with what want asks for.
func describe(events, want, got []outbox.Event) (lines []string) {
	for i, e := range events {
		var asked outbox.Event
		var under *schemas.EventType
		version := ""
		if i < len(want) {
			asked = want[i]
			if under = asked.Payload.EventType(); i < len(got) && versionsDiffer(under, got[i].Payload) {
				version = fmt.Sprintf(", schema %s", e.Payload.EventType().Fingerprint)
			}
		}
		of := e.Payload.EventType()
		lines = append(lines, fmt.Sprintf("%s of %s %s%s", of.Name, of.AggregateType, e.AggregateID, version))
		if asked.ID != uuid.Nil {
			lines = append(lines, "  ID "+e.ID.String())
		}
		if !asked.OccurredAt.IsZero() {
			lines = append(lines, "  OccurredAt "+e.OccurredAt.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano))
		}
		for _, name := range slices.Sorted(maps.Keys(asked.Headers)) {
			if value, has := e.Headers[name]; has {
				lines = append(lines, fmt.Sprintf("  header %s: %s", name, value))
			}
		}
		lines = append(lines, strings.Split("  "+jsonOf(e.Payload, under), "\n")...)
	}
	return lines
}

// versionsDiffer reports whether an event was published under another version of
// the wanted type.
func versionsDiffer(want *schemas.EventType, got schemas.Payload) bool {
	t := got.EventType()
	return t.Name == want.Name && t.Fingerprint != schemas.Fingerprint{} && t.Fingerprint != want.Fingerprint
}
