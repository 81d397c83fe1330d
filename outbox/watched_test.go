package outbox_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/outbox"
)

// A database without the outbox, or of a version before, is told as such.
func TestWatchedTablesWithoutOutbox(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	for _, sql := range []string{"drop function runnel.watch_problems(regclass)", "drop table runnel.watched cascade", "drop schema runnel cascade"} {
		s.Exec(t, sql)
		if _, err := outbox.WatchedTables(t.Context(), s.Conn(t)); !errors.Is(err, outbox.ErrNotMigrated) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if _, err := outbox.TableSchemas(t.Context(), s.Conn(t), "pg_class", outbox.TableOptions{}); !errors.Is(err, outbox.ErrNotMigrated) {
		t.Error(err)
	}
	closed := s.Conn(t)
	if err := closed.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.WatchedTables(t.Context(), closed); err == nil {
		t.Error("no error from a closed connection")
	}
	if _, err := outbox.TableSchemas(t.Context(), closed, "x", outbox.TableOptions{}); err == nil {
		t.Error("no error from a closed connection")
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	other := errors.New("other")
	if !errors.Is(outbox.Explain(other), other) || outbox.Explain(nil) != nil {
		t.Error("what is not ours is changed")
	}
	for code, want := range map[string]error{
		"RN001": outbox.ErrSchemaNotApplied, "RN002": outbox.ErrSchemaNotApplied, "RN004": outbox.ErrInvalid, "RN007": outbox.ErrNotWatchable,
		"RN008": outbox.ErrRowRefused, "RN009": outbox.ErrTableAltered, "RN010": outbox.ErrWatchedOtherwise,
	} {
		if err := outbox.Explain(fmt.Errorf("update: %w", &pgconn.PgError{Code: code})); !errors.Is(err, want) {
			t.Errorf("%s: %v", code, err)
		}
	}
	if err := outbox.Explain(&pgconn.PgError{Code: "42P01"}); errors.Is(err, outbox.ErrNotMigrated) {
		t.Error("a service's own missing table is not ours")
	}
}
