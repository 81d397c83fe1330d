package capture

import (
	"fmt"
	"testing"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/router"
)

// TestIdleBesideBusy writes to one database while the outboxes of others stay
// empty, and looks at how much WAL each slot keeps. It is what
// docs/decisions/no-heartbeat.md rests on. The server is the test's own: anyone's
// open transaction would hold the slots back.
func TestIdleBesideBusy(t *testing.T) {
	const (
		rounds = 6
		round  = 8 << 20 // bytes of WAL
	)
	stack, _ := ownServer(t)
	busy := pgtest.NewOn(t, stack.PostgresURL)
	type outbox struct {
		name     string
		walEnds  bool   // whether the WAL end that a keepalive carries is confirmed
		beat     string // what is done in each round
		f        *fixture
		r        *running
		fallsOff bool
	}
	outboxes := []*outbox{
		{name: "keepalives", walEnds: true},
		{name: "keepalives and messages", walEnds: true, beat: "select pg_logical_emit_message(true, 'heartbeat', '')"},
		{name: "nothing", fallsOff: true},
		{name: "transactional messages", beat: "select pg_logical_emit_message(true, 'heartbeat', '')", fallsOff: true},
		{name: "other messages", beat: "select pg_logical_emit_message(false, 'heartbeat', '')", fallsOff: true},
		{name: "writes to another table", beat: "insert into beats values (1)", fallsOff: true},
	}
	for _, o := range outboxes {
		o.f = newFixtureIn(t, pgtest.NewOn(t, stack.PostgresURL))
		o.f.Exec(t, "create table beats (n int)")
		if s := o.f.open(t); o.walEnds {
			o.r = follow(t, s)
		} else {
			o.r = followCommits(t, s)
		}
	}
	conn := busy.Conn(t)
	slot := func(o *outbox) Slot {
		s, err := ReadSlot(t.Context(), conn, o.f.config.Slot)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for range rounds {
		busy.Exec(t, "select pg_logical_emit_message(true, 'busy', repeat('x', $1))", round)
		for _, o := range outboxes {
			if o.beat != "" {
				o.f.Exec(t, o.beat)
			}
		}
		// It logs which transactions run, which is from where decoding can begin
		// again; so does the background writer every 15 s while anything is written.
		busy.Exec(t, "checkpoint")
	}
	for _, o := range outboxes {
		if o.fallsOff {
			continue
		}
		pgtest.Eventually(t, patience, func() bool { return slot(o).RetainedBytes() < round/4 },
			"%s: the slot keeps %s bytes", o.name, func() string { return fmt.Sprint(slot(o).RetainedBytes()) })
	}
	for _, o := range outboxes {
		s := slot(o)
		t.Logf("%-25s keeps %5.1f MiB", o.name, float64(s.RetainedBytes())/(1<<20))
		if o.fallsOff && s.RetainedBytes() < rounds*round {
			t.Errorf("%s: the slot keeps only %d bytes, so something moved it", o.name, s.RetainedBytes())
		}
		if got := o.r.received(); len(got) > 0 || len(o.r.commits) > 1 { // one: the rows from before the slot, none
			t.Errorf("%s: %d rows and %d commits came", o.name, len(got), len(o.r.commits))
		}
		o.r.mustStop()
	}
}

// followCommits is follow by a consumer that does not confirm WAL ends.
func followCommits(t testing.TB, s *Source) *running {
	t.Helper()
	r := start(t, s)
	go func() {
		defer close(r.ended)
		for b := range r.out {
			r.mu.Lock()
			for i := range b.Inputs {
				in := &b.Inputs[i]
				if err := r.step(in); err != nil {
					t.Error(err)
				}
				if in.Kind == router.Commit {
					r.Confirm(in.LSN)
				}
			}
			r.mu.Unlock()
		}
	}()
	return r
}
