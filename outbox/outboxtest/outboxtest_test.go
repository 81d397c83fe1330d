package outboxtest_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/runnel-cdc/runnel/internal/faketb"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/outbox/outboxtest"
	"github.com/runnel-cdc/runnel/schemas"
)

func event(id string, p schemas.Payload) outbox.Event {
	return outbox.Event{AggregateID: id, Payload: p}
}

func publish(t testing.TB, tx pgx.Tx, events ...outbox.Event) {
	t.Helper()
	if _, err := outbox.Publish(t.Context(), tx, events...); err != nil {
		t.Fatal(err)
	}
}

func begin(t testing.TB, conn *pgx.Conn) pgx.Tx {
	t.Helper()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

// What counts is what this transaction wrote and kept, in its order, whatever
// others do at the same time.
func TestOfThisTransaction(t *testing.T) {
	db := pgtest.New(t)
	outboxtest.Migrate(t, db.Conn(t))
	conn, other := db.Conn(t), db.Conn(t)
	before := begin(t, conn)
	publish(t, before, event("before", Shipped{1}))
	if err := before.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx := begin(t, conn)
	outboxtest.RequireNothingPublished(t, tx)
	publish(t, begin(t, other), event("beside", Shipped{1}))
	publish(t, tx, event("o-1", Shipped{1}), event("o-2", Cancelled{2}))
	for _, keep := range []bool{true, false} {
		inner, err := tx.Begin(t.Context()) // a savepoint
		if err != nil {
			t.Fatal(err)
		}
		publish(t, inner, event("o-3", Shipped{3}))
		end := inner.Rollback
		if keep {
			end = inner.Commit
		}
		if err := end(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, tx, event("o-1", Shipped{4}))
	outboxtest.RequirePublished(t, tx, event("o-1", Shipped{1}), event("o-2", Cancelled{2}), event("o-3", Shipped{3}), event("o-1", Shipped{4}))
	all := outboxtest.Published(t, tx)
	if s := outboxtest.Decode[Shipped](t, all[3]); s.Parcels != 4 {
		t.Errorf("%+v", s)
	}
	// Wanted as they were found, and published again.
	outboxtest.RequirePublished(t, tx, all...)
	publish(t, tx, outbox.Event{AggregateID: "again", Payload: all[3].Payload})
	if n := len(outboxtest.Published(t, tx)); n != 5 {
		t.Errorf("%d events", n)
	}
}

// Code that commits by itself is looked at from outside.
func TestSince(t *testing.T) {
	pool := pgtest.New(t).Pool(t)
	early := outboxtest.Since(t, pool) // before there is an outbox
	outboxtest.Migrate(t, pool, Shipped{})
	call := func(id string) {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := outbox.Publish(t.Context(), tx, event(id, Shipped{1}))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	call("o-1")
	since := outboxtest.Since(t, pool)
	outboxtest.RequireNothingPublished(t, since)
	call("o-2")
	outboxtest.RequirePublished(t, since, event("o-2", Shipped{1}))
	outboxtest.RequirePublished(t, early, event("o-1", Shipped{1}), event("o-2", Shipped{1}))
}

// With types, Migrate admits these alone; it may be called again.
func TestMigrate(t *testing.T) {
	conn := pgtest.New(t).Conn(t)
	outboxtest.Migrate(t, conn, Shipped{})
	outboxtest.Migrate(t, conn, Shipped{})
	tx := begin(t, conn)
	publish(t, tx, event("o-1", Shipped{1}))
	if _, err := outbox.Publish(t.Context(), tx, event("o-1", Cancelled{1})); !errors.Is(err, outbox.ErrSchemaNotApplied) {
		t.Error(err)
	}
}

func TestDatabaseSQL(t *testing.T) {
	db := pgtest.New(t)
	outboxtest.Migrate(t, db.Conn(t))
	pool, err := sql.Open("pgx", db.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	tx, err := pool.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	outboxtest.RequirePublishedSQL(t, tx)
	if _, err := outbox.PublishSQL(t.Context(), tx, event("o-1", Shipped{1}), event("o-2", Cancelled{2})); err != nil {
		t.Fatal(err)
	}
	outboxtest.RequirePublishedSQL(t, tx, event("o-1", Shipped{1}), event("o-2", Cancelled{2}))
	if got := faketb.Run(t.Context(), func(t testing.TB) { outboxtest.RequirePublishedSQL(t, tx) }); !strings.Contains(got, "+ OrderShipped of order o-1") {
		t.Error(got)
	}
}

// What SQL publishes as JSON is compared as its type has it.
func TestPublishedAsJSON(t *testing.T) {
	conn := pgtest.New(t).Conn(t)
	outboxtest.Migrate(t, conn)
	tx := begin(t, conn)
	if _, err := tx.Exec(t.Context(), `select runnel.publish('order', 'o-1', 'OrderShipped', '{"parcels": 3.0}'), runnel.publish('order', 'o-2', 'OrderShipped', '{}')`); err != nil {
		t.Fatal(err)
	}
	outboxtest.RequirePublished(t, tx, event("o-1", Shipped{3}), event("o-2", Shipped{1}))
	if s := outboxtest.Decode[Shipped](t, outboxtest.Published(t, tx)[0]); s.Parcels != 3 {
		t.Errorf("%+v", s)
	}
}

// A failure shows what differs, decoded.
func TestFailures(t *testing.T) {
	conn := pgtest.New(t).Conn(t)
	outboxtest.Migrate(t, conn)
	tx := begin(t, conn)
	ctx := outbox.WithCorrelation(t.Context(), "checkout-7", "")
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	first := outbox.Event{AggregateID: "o-1", Payload: Shipped{1}, ID: uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057"), OccurredAt: at}
	if _, err := outbox.Publish(ctx, tx, first, event("o-2", Shipped{2})); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*outbox.Event)) []outbox.Event {
		e := first
		change(&e)
		return []outbox.Event{e, event("o-2", Shipped{2})}
	}
	header := func(value string) map[string]string { return map[string]string{"correlationid": value} }
	for name, tc := range map[string]struct {
		want  []outbox.Event
		shows string // "" for no failure
	}{
		"as it is":        {with(func(e *outbox.Event) { e.Headers = header("checkout-7") }), ""},
		"without details": {[]outbox.Event{event("o-1", Shipped{1}), event("o-2", Shipped{2})}, ""},
		"another header":  {with(func(e *outbox.Event) { e.Headers = header("x") }), "-   header correlationid: x\n+   header correlationid: checkout-7\n"},
		"no such header":  {with(func(e *outbox.Event) { e.Headers = map[string]string{"tenant": "blue"} }), "-   header tenant: blue\n    {"},
		"another id":      {with(func(e *outbox.Event) { e.ID = uuid.Max }), "+   ID 01890a5d-ac96-774b-bcce-b302099a8057\n"},
		"another time":    {with(func(e *outbox.Event) { e.OccurredAt = at.Add(time.Microsecond) }), "+   OccurredAt 2026-02-03T04:05:06Z\n"},
		"another payload": {with(func(e *outbox.Event) { e.Payload = Shipped{7} }), "    {\n-     \"parcels\": 7\n+     \"parcels\": 1\n    }\n  OrderShipped of order o-2\n"},
		"another type":    {with(func(e *outbox.Event) { e.Payload = Cancelled{1} }), "- OrderCancelled of order o-1\n+ OrderShipped of order o-1\n"},
		"another version": {with(func(e *outbox.Event) { e.Payload = newUnknown() }), ", schema " + shipped.Fingerprint.String()},
		"another order":   {[]outbox.Event{event("o-2", Shipped{2}), event("o-1", Shipped{1})}, "- OrderShipped of order o-2\n"},
		"one too few":     {with(func(*outbox.Event) {})[:1], "published events (- wanted, + published):\n"},
		"one too many":    {append(with(func(*outbox.Event) {}), event("o-3", Shipped{3})), "- OrderShipped of order o-3\n"},
		"no payload":      {[]outbox.Event{{AggregateID: "o-1"}}, "want[0], of o-1, has no Payload"},
	} {
		got := faketb.Run(t.Context(), func(t testing.TB) { outboxtest.RequirePublished(t, tx, tc.want...) })
		if (got == "") != (tc.shows == "") || !strings.Contains(got, strings.TrimSuffix(tc.shows, "\n")) {
			t.Errorf("%s: %q, want %q", name, got, tc.shows)
		}
	}
}

// What can't be read says what to do.
func TestMistakes(t *testing.T) {
	db := pgtest.New(t)
	conn := db.Conn(t)
	for name, tc := range map[string]struct {
		do    func(testing.TB)
		shows string
	}{
		"no outbox": {func(t testing.TB) { outboxtest.RequireNothingPublished(t, begin(t, conn)) }, "→ Make it in the test's database with outboxtest.Migrate"},
		"no transaction": {func(t testing.TB) {
			outboxtest.RequireNothingPublished(t, conn)
		}, "give a pgx.Tx, or what Since returned"},
		"a failed transaction": {func(t testing.TB) {
			tx := begin(t, conn)
			_, _ = tx.Exec(t.Context(), "select 1/0")
			outboxtest.RequireNothingPublished(t, tx)
		}, "→ A statement of the transaction failed before"},
		"no rights": {func(t testing.TB) {
			outboxtest.Migrate(t, pgtest.Conn(t, db.CreateRole(t, "nobody")))
		}, "NEEDS_ADMIN"},
		"another type": {func(t testing.TB) {
			outboxtest.Decode[Shipped](t, event("o-1", Cancelled{1}))
		}, "the event of o-1 is OrderCancelled, not OrderShipped"},
	} {
		if got := faketb.Run(t.Context(), tc.do); !strings.Contains(got, tc.shows) {
			t.Errorf("%s: %q lacks %q", name, got, tc.shows)
		}
	}
	// An event of a type that this program does not have is shown as what it is.
	outboxtest.Migrate(t, conn)
	tx := begin(t, conn)
	publish(t, tx, event("o-1", newUnknown()))
	if got := faketb.Run(t.Context(), func(t testing.TB) { outboxtest.RequireNothingPublished(t, tx) }); !strings.Contains(got, "1 bytes under schema") {
		t.Error(got)
	}
}
