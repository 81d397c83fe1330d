package walwatch

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/fault"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// state is that of a slot which keeps so much, of which so much is not confirmed.
func state(retained, lag uint64, change ...func(*State)) State {
	s := State{Limit: -1, Slot: capture.Slot{
		Name: "s", Exists: true, Active: true, WALStatus: "extended",
		CurrentLSN: 1 << 50, RestartLSN: 1<<50 - retained, ConfirmedFlush: 1<<50 - lag,
	}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func limited(limit, safe int64) func(*State) {
	return func(s *State) { s.Limit, s.Safe = limit, &safe }
}

func status(wal string) func(*State) { return func(s *State) { s.Slot.WALStatus = wal } }

func holder(h Holder) func(*State) { return func(s *State) { s.Holder = &h } }

func other(o Other) func(*State) { return func(s *State) { s.Other = &o } }

func idle(inactive, timeout time.Duration) func(*State) {
	return func(s *State) { s.Slot.Active, s.Inactive, s.IdleTimeout = false, inactive, timeout }
}

func codes(all []*fault.Error) string {
	var ids []string
	for _, e := range all {
		ids = append(ids, e.Code.ID)
	}
	return strings.Join(ids, " ")
}

// What no test can bring about in a moment, judged from its values.
func TestWarnings(t *testing.T) {
	session := Holder{XID: "7", PID: 42, Application: "shop", User: "o'brien", Database: "d"}
	aged := session
	aged.Age = time.Hour
	young := session
	young.Age = time.Second
	for name, c := range map[string]struct {
		s     State
		codes string
		says  string // in a message or a remedy
	}{
		"no slot":                            {State{Limit: -1}, "", ""},
		"little, no limit":                   {state(gib, gib), "", ""},
		"much, no limit":                     {state(11*gib, 11*gib), "WAL_RETAINED", "11GiB"},
		"much, but within max_wal_size":      {state(11*gib, 11*gib, status("reserved")), "", ""},
		"below half":                         {state(400*mib, 400*mib, limited(gib, 500*mib)), "", ""},
		"above half":                         {state(600*mib, 600*mib, limited(gib, 424*mib)), "SLOT_AT_RISK", "'2048MB'"},
		"above half, within max_wal_size":    {state(600*mib, 600*mib, limited(gib, 424*mib), status("reserved")), "SLOT_AT_RISK", "424MiB more"},
		"unreserved":                         {state(2*gib, 2*gib, limited(gib, -1), status("unreserved")), "SLOT_AT_RISK", "'4096MB'"},
		"lost":                               {state(0, 0, status("lost")), "SLOT_LOST", ""},
		"held, at risk":                      {state(600*mib, mib, limited(gib, 424*mib), holder(session)), "SLOT_AT_RISK WAL_HELD_BY_TRANSACTION", `process 42, application "shop"`},
		"held, somebody has just begun":      {state(600*mib, mib, limited(gib, 424*mib), holder(young)), "SLOT_AT_RISK", ""},
		"held, by whom is not known":         {state(600*mib, mib, limited(gib, 424*mib)), "SLOT_AT_RISK", "End that transaction, or raise"},
		"at risk by lag":                     {state(600*mib, 500*mib, limited(gib, 424*mib), holder(aged)), "SLOT_AT_RISK", ""},
		"held, much":                         {state(11*gib, mib, holder(session)), "WAL_RETAINED WAL_HELD_BY_TRANSACTION", `as "o'brien" or a superuser`},
		"15 s of a busy server":              {state(gib+gib/2, mib, holder(session)), "", ""},
		"for an hour":                        {state(gib+gib/2, mib, holder(aged)), "WAL_HELD_BY_TRANSACTION", "begun 1h ago"},
		"for an hour, but little":            {state(gib/2, mib, holder(aged)), "", ""},
		"prepared":                           {state(2*gib, 0, holder(Holder{GID: "it's", Age: time.Hour, User: "u", Database: "d"})), "WAL_HELD_BY_TRANSACTION", "ROLLBACK PREPARED 'it''s';"},
		"another slot":                       {state(gib, gib, other(Other{"o", false, 20 * gib, "extended"})), "WAL_HELD_BY_SLOT", "pg_drop_replication_slot('o')"},
		"another slot, of which there is to": {state(gib, gib, limited(64*gib, 60*gib), other(Other{"o", true, 20 * gib, "extended"})), "", ""},
		"ours keeps more":                    {state(30*gib, 30*gib, other(Other{"o", true, 20 * gib, "extended"})), "WAL_RETAINED", ""},
		"idle":                               {state(mib, mib, idle(31*time.Minute, time.Hour)), "SLOT_IDLE_TIMEOUT", "31m"},
		"not idle for long":                  {state(mib, mib, idle(29*time.Minute, time.Hour)), "", ""},
		"a standby is awaited":               {state(mib, mib, func(s *State) { s.Absent = []string{"b"} }), "STANDBY_AWAITED", "RESET synchronized_standby_slots"},
		"a standby is awaited, little held":  {state(400*mib, mib, holder(session), func(s *State) { s.Absent = []string{"b"} }), "STANDBY_AWAITED", "waits for b"},
		"no timeout":                         {state(mib, mib, idle(time.Hour, 0)), "", ""},
	} {
		got := c.s.Warnings(nil)
		text := ""
		for _, e := range got {
			text += e.Message + e.WhatToDo()
		}
		if codes(got) != c.codes || !strings.Contains(text, c.says) {
			t.Errorf("%s: %v, want %s with %q", name, got, c.codes, c.says)
		}
		// Of what is not judged without a holder, none is looked for.
		if slices.Contains(strings.Fields(c.codes), ErrHeldByTransaction.ID) && !c.s.mayBeHeld() {
			t.Errorf("%s: nobody would look for the holder", name)
		}
	}
}

// A warning does not come and go with what is written: it is over below 80 % of
// what it came at.
func TestWarningsLast(t *testing.T) {
	ongoing := func(*fault.Code) bool { return true }
	for name, c := range map[string]struct {
		s           State
		fresh, last string
	}{
		"45 % of the limit": {state(460*mib, mib, limited(gib, 564*mib)), "", "SLOT_AT_RISK"},
		"39 % of the limit": {state(400*mib, mib, limited(gib, 624*mib)), "", ""},
		"9 GiB":             {state(9*gib, 9*gib), "", "WAL_RETAINED"},
		"7 GiB":             {state(7*gib, 7*gib), "", ""},
	} {
		if fresh, last := codes(c.s.Warnings(nil)), codes(c.s.Warnings(ongoing)); fresh != c.fresh || last != c.last {
			t.Errorf("%s: %q, then %q", name, fresh, last)
		}
	}
}

func TestHazards(t *testing.T) {
	for want, s := range map[string]State{
		"WAL_UNLIMITED SLOT_IDLE_TIMEOUT": state(gib, gib, func(s *State) { s.IdleTimeout = time.Hour }),
		"":                                state(gib, gib, limited(64*gib, 63*gib)),
	} {
		if got := codes(s.Hazards()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestKeptAndStatus(t *testing.T) {
	for want, s := range map[string]State{
		"1GiB of WAL kept, without limit (max_slot_wal_keep_size = -1)":                              state(gib, gib),
		"1GiB of WAL kept, 2GiB may be written before the slot can be lost (max_slot_wal_keep_size)": state(gib, gib, limited(3*gib, 2*gib)),
		"4GiB of WAL kept, 0B may be written before the slot can be lost (max_slot_wal_keep_size)":   state(4*gib, gib, limited(3*gib, -gib)),
		"0B of WAL kept": state(0, 0, func(s *State) { s.Limit = gib }),
	} {
		if got := s.Kept(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for status, explained := range map[string]bool{"reserved": false, "extended": true, "unreserved": true, "lost": true, "": false} {
		if (StatusText(status) != "") != explained {
			t.Errorf("%s: %q", status, StatusText(status))
		}
	}
}
