package doctor

import (
	"context"
	"strings"

	"github.com/runnel-cdc/runnel/internal/walwatch"
)

var failoverChecks = []Check{
	{Name: "failover", About: "a standby can take the slot over, and none holds the stream up", Needs: []string{"slot"}, Run: checkFailover},
}

// failover is what of a server decides whether a standby can take over.
type failover struct {
	version  int      // server_version_num
	slot     bool     // it is there
	failover bool     // the slot is made for it
	awaited  []string // synchronized_standby_slots, of which
	absent   []string // these are waited for and not there: walwatch.State.Absent
}

func checkFailover(ctx context.Context, s *Session) (string, error) {
	var f failover
	// to_jsonb, because older servers lack the column and the setting.
	err := s.pg.QueryRow(ctx, `
		with named as (select trim(both '" ' from n) as name
			from string_to_table(coalesce(current_setting('synchronized_standby_slots', true), ''), ',') n where trim(n) <> '')
		select current_setting('server_version_num')::int,
			exists (select from pg_replication_slots where slot_name = $1),
			coalesce((select (to_jsonb(r)->>'failover')::boolean from pg_replication_slots r where slot_name = $1), false),
			array(select name from named)`, s.cfg.Capture.Slot).
		Scan(&f.version, &f.slot, &f.failover, &f.awaited)
	if err != nil {
		return "", queryFault(err, "look at what a failover needs")
	}
	st, err := walwatch.Read(ctx, s.pg, s.cfg.Capture.Slot)
	if err != nil {
		return "", queryFault(err, "look at what a failover needs")
	}
	f.absent = st.Absent
	return f.judge(s.cfg.Capture.Slot)
}

// judge says what keeps a standby from taking over, the plainest first.
func (f failover) judge(slot string) (string, error) {
	if awaited := walwatch.Awaited(f.absent); awaited != nil {
		return "", awaited
	}
	switch {
	case f.version < 170000:
		return "slots do not survive a failover before Postgres 17: the pipeline would halt", nil
	case !f.slot:
		return "the first `runnel run` makes the slot so that a standby can take it over", nil
	case !f.failover:
		return "", warning{ErrSlotNotForFailover.New("slot %s would not be there after a failover", slot).
			Fix("While the daemon is stopped, as its role:\n  psql \"dbname=... replication=database\" -c 'ALTER_REPLICATION_SLOT %s (FAILOVER true)'", slot)}
	case len(f.awaited) == 0:
		return "slot " + slot + " can be taken over; synchronized_standby_slots is empty: what is published may be ahead of every standby", nil
	}
	return "slot " + slot + " can be taken over by a standby that has " + strings.Join(f.awaited, ", "), nil
}
