package stacktest_test

import (
	"testing"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

func TestUp(t *testing.T) {
	var stack *devstack.Stack
	t.Run("inner", func(t *testing.T) {
		stack = stacktest.Up(t, devstack.Options{Postgres: true})
		db := pgtest.NewOn(t, stack.PostgresURL)
		db.Exec(t, "create table kept ()")
		if err := stack.RestartPostgres(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !pgtest.Value[bool](t, db, "select to_regclass('kept') is not null") {
			t.Error("the restart lost a table")
		}
	})
	for _, server := range stack.Servers() {
		if server.Running {
			t.Errorf("%s outlives the test", server.Name)
		}
	}
}
