package outboxtest

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// Migrate makes the outbox in a test's database, or brings it up to date, and
// admits the given event types, by their zero values, beside those that were given
// before. As long as none ever was, all are admitted; from then on others are refused
// as in production (outbox.ErrSchemaNotApplied). So in a database that the tests of
// several packages share, let all give their types, or none.
// The current user must be allowed to create a schema and owns it then. It is
// idempotent, commits, and fails the test at once when it can't.
func Migrate[DB *pgx.Conn | *pgxpool.Pool](t testing.TB, db DB, types ...schemas.Payload) {
	t.Helper()
	ctx := t.Context()
	var conn *pgx.Conn
	switch db := any(db).(type) {
	case *pgx.Conn:
		conn = db
	case *pgxpool.Pool:
		leased, err := db.Acquire(ctx)
		if err != nil {
			fatal(t, "connecting to make the outbox", err)
		}
		defer leased.Release()
		conn = leased.Conn()
	}
	if err := migrate(ctx, conn, types); err != nil {
		if errors.Is(err, outbox.ErrNeedsAdmin) {
			t.Fatalf("making the outbox: %v\n→ It is there and another role owns it: run the tests as that role, or in a database of their own.", err)
		}
		fatal(t, "making the outbox", err)
	}
	if len(types) > 0 {
		return
	}
	rows, err := conn.Query(ctx, "select count(*) from runnel.event_type")
	n, err := collectOne[int](rows, err)
	if err != nil {
		fatal(t, "looking for event types", err)
	}
	if n > 0 {
		t.Logf("outboxtest.Migrate: %d event types were given here before, and no others are admitted", n)
	}
}

func migrate(ctx context.Context, conn *pgx.Conn, types []schemas.Payload) error {
	if err := outbox.Migrate(ctx, conn); err != nil || len(types) == 0 {
		return err
	}
	admitted := make([]*schemas.EventType, len(types))
	for i, p := range types {
		admitted[i] = p.EventType()
	}
	_, err := outbox.RegisterEventTypes(ctx, conn, admitted)
	return err
}
