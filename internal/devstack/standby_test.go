package devstack

import (
	"context"
	"testing"
	"time"
)

func TestStandby(t *testing.T) {
	primary := up(t, Options{Postgres: true, Ephemeral: true})
	execute(t, primary, "create table t (n int)")
	execute(t, primary, "select pg_create_physical_replication_slot('standby')")
	dir := t.TempDir()
	if err := primary.PrepareStandby(t.Context(), dir, "standby"); err != nil {
		t.Fatal(err)
	}
	standby := up(t, Options{Postgres: true, Ephemeral: true, Dir: dir})
	execute(t, primary, "insert into t values (7)")
	deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ask(t, standby, "select count(*)::text from t") != "1" {
		if deadline.Err() != nil {
			t.Fatal("the standby has not received the row")
		}
	}
	if err := primary.KillPostgres(); err != nil {
		t.Fatal(err)
	}
	if err := standby.PromotePostgres(t.Context()); err != nil {
		t.Fatal(err)
	}
	execute(t, standby, "insert into t values (8)")
	if got := ask(t, standby, "select left(pg_walfile_name(pg_current_wal_lsn()), 8)"); got != "00000002" {
		t.Errorf("timeline %s", got)
	}
}
