package capture

import (
	"errors"
	"testing"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// TestServerSettings: a server that does not write what is decoded, and one whose
// only replication connection, or only slot, is taken: on a server of the test's
// own, for each setting needs a start.
func TestServerSettings(t *testing.T) {
	t.Parallel()
	stack, _ := ownServer(t)
	f := newFixtureIn(t, pgtest.NewOn(t, stack.PostgresURL))
	with := func(settings ...string) {
		t.Helper()
		for _, s := range settings {
			f.Exec(t, "alter system set "+s)
		}
		if err := stack.RestartPostgres(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	with("wal_level = replica", "max_wal_senders = 1", "max_replication_slots = 1")
	if err := openFails(t, f.config, ErrWALLevel, "ALTER SYSTEM SET wal_level = 'logical';"); !Halts(err) {
		t.Error("does not halt")
	}
	with("wal_level = logical")
	first := f.open(t) // has the replication connection, and the slot
	second := f.config
	second.Pipeline, second.Slot = "q", f.Slot("q")
	if err := openFails(t, second, ErrNoWALSender, "ALTER SYSTEM SET max_wal_senders"); Halts(err) {
		t.Error("halts, and another's end would let it go on")
	}
	first.Close()
	var err error
	pgtest.Eventually(t, patience, func() bool { // the server may notice late
		_, err = Open(t.Context(), second)
		return !errors.Is(err, ErrNoWALSender)
	})
	mustCode(t, err, ErrNoSlot)
}
