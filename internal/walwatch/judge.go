package walwatch

import (
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/sqltext"
)

// The thresholds.
//
// With a limit the server's own count decides: half of it is early enough for a
// person (the other half takes as long again), and late enough not to be passed
// in everyday work. The status "extended" alone is no alarm: it only says that
// more than max_wal_size is kept, which a bulk load or a slow checkpoint does.
//
// Without one there is nothing to be half of. What is kept within max_wal_size
// ("reserved") the disk must bear anyway; beyond that, manyBytes.
//
// What is confirmed and kept all the same is up to 15 s of WAL at any time, a
// gigabyte and a half on a busy server; so it takes a transaction that is known
// to be old, or one of the alarms above, to blame one.
const (
	manyBytes = 10 << 30
	heldBytes = 1 << 30
	heldAge   = 10 * time.Minute
	youngAge  = 10 * time.Second // WAL was not kept for a transaction that is younger
)

// calm is the part of a threshold that a warning must fall below to be over, so
// that it does not come and go with what is written.
const calm = 0.8

// Warnings says what is about to go wrong, the worst first. ongoing tells which
// codes were among them the last time; nil: there was none.
func (s State) Warnings(ongoing func(*fault.Code) bool) []*fault.Error {
	if ongoing == nil {
		ongoing = func(*fault.Code) bool { return false }
	}
	if !s.Slot.Exists {
		return nil
	}
	if err := s.Slot.CheckUsable(); err != nil {
		return []*fault.Error{fault.Find(err)}
	}
	var all []*fault.Error
	add := func(e *fault.Error) {
		if e != nil {
			all = append(all, e)
		}
	}
	add(Awaited(s.Absent))
	before := len(all) // that nothing is streamed blames no transaction
	add(s.atRisk(scale(ongoing, ErrSlotAtRisk)))
	add(s.much(scale(ongoing, ErrWALRetained)))
	add(s.held(scale(ongoing, ErrHeldByTransaction), len(all) > before))
	add(s.other(scale(ongoing, ErrHeldBySlot)))
	add(s.idle())
	return all
}

// Awaited says that standbys are waited for that are not there: see State.Absent. nil: none is.
func Awaited(absent []string) *fault.Error {
	if len(absent) == 0 {
		return nil
	}
	return ErrStandbyAwaited.New("the stream waits for %s of synchronized_standby_slots, from which nobody streams", strings.Join(absent, ", "))
}

// Hazards says what is well now and does harm the day the daemon is down: the
// server's settings.
func (s State) Hazards() []*fault.Error {
	var all []*fault.Error
	if s.Limit < 0 {
		all = append(all, ErrUnlimited.New("WAL is kept for slots without limit (max_slot_wal_keep_size = -1): while the daemon is down the disk fills, and a full disk stops the server"))
	}
	if s.IdleTimeout > 0 {
		all = append(all, ErrIdleTimeout.New("a slot that nobody reads for %s is invalidated (idle_replication_slot_timeout)", config.FormatDuration(s.IdleTimeout)))
	}
	return all
}

// Kept is one line on how much WAL is kept, and of how much.
func (s State) Kept() string {
	switch {
	case s.Limit < 0:
		return size(s.retained()) + " of WAL kept, without limit (max_slot_wal_keep_size = -1)"
	case s.Safe == nil:
		return size(s.retained()) + " of WAL kept"
	}
	return fmt.Sprintf("%s of WAL kept, %s may be written before the slot can be lost (max_slot_wal_keep_size)", size(s.retained()), size(max(0, *s.Safe)))
}

// StatusText explains a wal_status; "" for one that needs no words.
func StatusText(status string) string {
	switch status {
	case "extended":
		return "more than max_wal_size is kept"
	case "unreserved":
		return "beyond max_slot_wal_keep_size: the next checkpoint may remove it"
	case "lost":
		return "what the slot needed is removed"
	}
	return ""
}

func scale(ongoing func(*fault.Code) bool, code *fault.Code) float64 {
	if ongoing(code) {
		return calm
	}
	return 1
}

func (s State) atRisk(scale float64) *fault.Error {
	var e *fault.Error
	switch {
	case s.Slot.WALStatus == "unreserved":
		e = ErrSlotAtRisk.New("slot %s keeps %s of WAL, beyond max_slot_wal_keep_size: the next checkpoint may remove it (wal_status is unreserved)", s.Slot.Name, size(s.retained()))
	case s.Safe != nil && float64(s.retained()) > scale*float64(s.retained()+*s.Safe)/2:
		e = ErrSlotAtRisk.New("slot %s keeps %s of WAL; it can be lost when %s more are written (max_slot_wal_keep_size)", s.Slot.Name, size(s.retained()), size(max(0, *s.Safe)))
	default:
		return nil
	}
	first := "Get the pipeline running (`runnel status` says what it waits for)"
	if s.mostlyHeld() {
		e.Message += ", most of it for a transaction that is open"
		first = "End that transaction"
	}
	return e.Fix(first+", or raise the limit as a superuser, if the disk has room:\n"+
		"  ALTER SYSTEM SET max_slot_wal_keep_size = '%dMB';\n  SELECT pg_reload_conf();", max(2*s.Limit, 2*s.retained(), 1<<30)>>20)
}

func (s State) much(scale float64) *fault.Error {
	if s.Limit >= 0 || s.Slot.WALStatus == "reserved" || float64(s.retained()) <= scale*manyBytes {
		return nil
	}
	e := ErrWALRetained.New("slot %s keeps %s of WAL, without limit (max_slot_wal_keep_size = -1)", s.Slot.Name, size(s.retained()))
	if s.mostlyHeld() {
		e.Message += ", most of it for a transaction that is open"
		e = e.Fix("End that transaction, and watch the disk.")
	}
	return e
}

// held names a transaction that the WAL is kept for.
func (s State) held(scale float64, alarmed bool) *fault.Error {
	h := s.Holder
	old := h != nil && h.Age > heldAge && float64(s.Held()) > scale*heldBytes
	if h == nil || !old && !(alarmed && s.mostlyHeld()) {
		return nil
	}
	if h.Age > 0 && h.Age < youngAge { // it just happens to be there: the server has not noted yet that others have ended
		return nil
	}
	since := ""
	if h.Age > 0 {
		since = fmt.Sprintf(", begun %s ago", config.FormatDuration(max(h.Age.Truncate(time.Second), time.Second)))
	}
	if h.PID == 0 {
		gid := sqltext.Literal(h.GID)
		return ErrHeldByTransaction.New("%s of WAL is confirmed, but kept for the prepared transaction %s of %s in database %s%s", size(s.Held()), gid, h.User, h.Database, since).
			Fix("Find out who should have ended it. Connected to database %s, as %s or a superuser, one of:\n  COMMIT PREPARED %s;\n  ROLLBACK PREPARED %[3]s;", h.Database, h.User, gid)
	}
	return ErrHeldByTransaction.New("%s of WAL is confirmed, but kept for the server's oldest transaction: process %d, application %q, user %s, database %s%s",
		size(s.Held()), h.PID, h.Application, h.User, h.Database, since).
		Fix("Have its application end it, or end its session, as %s or a superuser:\n  SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = %d AND backend_xid = '%s';",
			pgx.Identifier{h.User}.Sanitize(), h.PID, h.XID)
}

// other names another slot that fills the disk. Where there is a limit the server
// gives that slot up, and no disk is filled.
func (s State) other(scale float64) *fault.Error {
	o := s.Other
	if o == nil || s.Limit >= 0 || o.Status == "reserved" || float64(o.Retained) <= scale*manyBytes || o.Retained <= s.retained() {
		return nil
	}
	reader := "and nobody reads it"
	if o.Active {
		reader = "though it is read"
	}
	return ErrHeldBySlot.New("slot %s keeps %s of WAL, %s; ours keeps %s", o.Name, size(o.Retained), reader, size(s.retained())).
		Fix("Have its consumer go on, or drop it if nobody needs it any more:\n  SELECT pg_drop_replication_slot(%s);", sqltext.Literal(o.Name))
}

// idle warns when half of the time that nobody may read the slot has passed: a
// takeover is no reason to.
func (s State) idle() *fault.Error {
	if s.IdleTimeout == 0 || s.Slot.Active || s.Inactive <= s.IdleTimeout/2 {
		return nil
	}
	return ErrIdleTimeout.New("nobody has read slot %s for %s; it is invalidated after %s (idle_replication_slot_timeout)",
		s.Slot.Name, config.FormatDuration(s.Inactive.Truncate(time.Second)), config.FormatDuration(s.IdleTimeout))
}

// mayBeHeld reports whether it is worth to look for a transaction to blame.
func (s State) mayBeHeld() bool {
	alarmed := s.atRisk(calm) != nil || s.much(calm) != nil
	return alarmed && s.mostlyHeld() || float64(s.Held()) > calm*heldBytes
}

func (s State) mostlyHeld() bool { return s.Held() > s.retained()/2 }

func (s State) retained() int64 { return int64(s.Slot.RetainedBytes()) }

func size(n int64) string { return config.RoundSize(n) }
