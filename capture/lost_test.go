package capture

import (
	"strconv"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// ownServer starts a server of the test's own, of the shared one's major version.
func ownServer(t *testing.T) (stack *devstack.Stack, major int) {
	t.Helper()
	major = serverMajor(t)
	options := devstack.Options{Postgres: true, PGVersion: strconv.Itoa(major)}
	if err := devstack.Installed(t.Context(), options); err != nil {
		t.Skip(err) // the shared server is another machine's
	}
	return stacktest.Up(t, options), major
}

// TestSlotLost has servers invalidate a slot, in each way that a setting of
// theirs can bring about, and looks at what Open says then. It takes a server of
// its own: the settings are the whole server's.
func TestSlotLost(t *testing.T) {
	stack, major := ownServer(t)
	for _, c := range []struct {
		name, setting, value string
		since                int // Postgres' major version
		says                 string
	}{
		{"too much WAL", "max_slot_wal_keep_size", "1MB", 15, "wal_removed"},
		{"idle too long", "idle_replication_slot_timeout", "1s", 18, "idle_timeout"},
	} {
		if major < c.since {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			f := newFixtureIn(t, pgtest.NewOn(t, stack.PostgresURL))
			f.insert(t, 1, 3, "kept")
			f.open(t).Close()
			f.Exec(t, "alter system set "+c.setting+" = '"+c.value+"'")
			t.Cleanup(func() { f.Exec(t, "alter system reset "+c.setting) })
			f.Exec(t, "select pg_reload_conf()")

			conn := f.Conn(t)
			pgtest.Eventually(t, patience, func() bool {
				for _, sql := range []string{"select pg_switch_wal() from pg_logical_emit_message(false, 'test', 'a record, or nothing is switched')", "checkpoint"} {
					if _, err := conn.Exec(t.Context(), sql); err != nil {
						t.Fatal(err)
					}
				}
				slot, err := ReadSlot(t.Context(), conn, f.config.Slot)
				if err != nil {
					t.Fatal(err)
				}
				return slot.WALStatus == "lost"
			}, "the slot is lost")
			err := openFails(t, f.config, ErrSlotLost, "("+c.says+")")
			if !Halts(err) {
				t.Error("does not halt")
			}
			if want := "ALTER SYSTEM SET " + c.setting; !strings.Contains(fault.Find(err).WhatToDo(), want) {
				t.Errorf("%v: the remedy lacks %s", err, want)
			}
		})
	}
}

// TestCausesOfLoss: every cause that servers of 15 to 18 give, and one that they
// do not, in words. Two of them strike standbys alone.
func TestCausesOfLoss(t *testing.T) {
	for cause, says := range map[string][2]string{
		"":                       {"max_slot_wal_keep_size", "max_slot_wal_keep_size"}, // 15, 16
		"wal_removed":            {"max_slot_wal_keep_size", "max_slot_wal_keep_size"},
		"rows_removed":           {"vacuum", "hot_standby_feedback"},
		"wal_level_insufficient": {"wal_level", "wal_level"},
		"idle_timeout":           {"nobody read it", "idle_replication_slot_timeout = 0"},
		"conflicting":            {"standby", "hot_standby_feedback"}, // 16
		"moon_phase":             {"moon_phase", "runnel slot repair"},
	} {
		slot := Slot{Name: "s", Exists: true, WALStatus: "lost", Invalidation: cause}
		e := fault.Find(slot.CheckUsable())
		if e == nil || e.Code != ErrSlotLost || !strings.Contains(e.Message, says[0]) ||
			!strings.HasPrefix(e.WhatToDo(), ErrSlotLost.Remedy) || !strings.Contains(e.WhatToDo(), says[1]) {
			t.Errorf("%q: %v: %s", cause, e, e.WhatToDo())
		}
	}
	for _, status := range []string{"reserved", "extended", "unreserved", ""} {
		if err := (Slot{Exists: true, WALStatus: status}).CheckUsable(); err != nil {
			t.Errorf("%s: %v", status, err)
		}
	}
}
