package doccheck

import (
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

// The SQL that operations.md shows runs as it stands there, on a server that it may
// change.
func TestSQLRuns(t *testing.T) {
	const name = "docs/operations.md"
	db := pgtest.NewOn(t, stacktest.Up(t, devstack.Options{Postgres: true}).PostgresURL)
	if _, err := outbox.Init(t.Context(), db.Conn(t), outbox.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, b := range parse(name, read(t, name)).blocks {
		if b.language != "sql" {
			continue
		}
		for statement := range strings.SplitSeq(strings.Join(b.lines, "\n"), ";") {
			if strings.TrimSpace(statement) == "" {
				continue
			}
			if _, err := db.Conn(t).Exec(t.Context(), statement); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
			ran++
		}
	}
	if ran < 4 {
		t.Errorf("%d statements of %s", ran, name)
	}
}
