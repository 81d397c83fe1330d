package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/sqltext"
)

// Slot is the state of a replication slot as the server shows it. LSNs are
// byte positions in the WAL.
type Slot struct {
	Name           string
	Exists         bool
	Plugin         string
	Database       string
	Logical        bool
	Active         bool
	ActivePID      int32  // 0 when not active
	WALStatus      string // reserved, extended, unreserved or lost
	Invalidation   string // why it is lost: wal_removed, idle_timeout, ... (17), or just conflicting (16); else ""
	ConfirmedFlush uint64 // every transaction whose commit LSN is below is confirmed
	RestartLSN     uint64 // the server keeps WAL from here
	CurrentLSN     uint64 // the end of the server's WAL
}

// LagBytes is how much WAL lies between what is confirmed and the end.
func (s Slot) LagBytes() uint64 {
	if s.CurrentLSN < s.ConfirmedFlush {
		return 0
	}
	return s.CurrentLSN - s.ConfirmedFlush
}

// RetainedBytes is how much WAL the server keeps for the slot.
func (s Slot) RetainedBytes() uint64 {
	if s.RestartLSN == 0 || s.CurrentLSN < s.RestartLSN {
		return 0
	}
	return s.CurrentLSN - s.RestartLSN
}

// ReadSlot reads a slot's state; one that does not exist has Exists false. Any
// role may ask. It does not wait for the slot and takes nothing from it.
func ReadSlot(ctx context.Context, conn *pgx.Conn, name string) (Slot, error) {
	s := Slot{Name: name}
	var confirmed, restart, current string
	err := conn.QueryRow(ctx, `select coalesce(plugin::text, ''), coalesce(database::text, ''), slot_type = 'logical',
			active, coalesce(active_pid, 0), coalesce(wal_status, ''),
			coalesce(to_jsonb(s)->>'invalidation_reason', case when (to_jsonb(s)->>'conflicting')::boolean and restart_lsn is not null then 'conflicting' else '' end),
			coalesce(confirmed_flush_lsn, '0/0')::text, coalesce(restart_lsn, '0/0')::text,
			pg_current_wal_lsn()::text
		from pg_replication_slots s where slot_name = $1`, name).
		Scan(&s.Plugin, &s.Database, &s.Logical, &s.Active, &s.ActivePID, &s.WALStatus, &s.Invalidation, &confirmed, &restart, &current)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, nil
	}
	if err != nil {
		return Slot{}, queryFault(err, "read slot "+name)
	}
	s.Exists = true
	for _, p := range []struct {
		text string
		to   *uint64
	}{{confirmed, &s.ConfirmedFlush}, {restart, &s.RestartLSN}, {current, &s.CurrentLSN}} {
		if *p.to, err = parseLSN(p.text); err != nil {
			return Slot{}, err
		}
	}
	return s, nil
}

// Holder describes the session that streams from the slot, as far as our role may
// see; "" when none does.
func (s Slot) Holder(ctx context.Context, conn *pgx.Conn) string {
	if !s.Active {
		return ""
	}
	var user, application, address *string
	err := conn.QueryRow(ctx, `select usename::text, application_name, host(client_addr) from pg_stat_activity where pid = $1`, s.ActivePID).
		Scan(&user, &application, &address)
	if err != nil { // it has just gone, or may not be seen
		return fmt.Sprintf("pid %d", s.ActivePID)
	}
	return fmt.Sprintf("pid %d, application %q, user %s, address %s", s.ActivePID, deref(application), deref(user), deref(address))
}

func deref(s *string) string {
	if s == nil || *s == "" {
		return "unknown"
	}
	return *s
}

// CheckOwner says what makes an existing slot another's than that of a pipeline
// in database: ErrSlotForeign, else nil.
func (s Slot) CheckOwner(database string) error {
	what := ""
	switch {
	case !s.Exists:
		return nil
	case !s.Logical:
		what = "is a physical one"
	case s.Plugin != "pgoutput":
		what = "uses the plugin " + s.Plugin
	case s.Database != database:
		what = "is of database " + s.Database
	default:
		return nil
	}
	return ErrSlotForeign.New("slot %s %s", s.Name, what).Fix("%s", strings.Replace(ErrSlotForeign.Remedy, "'the_slot'", sqltext.Literal(s.Name), 1))
}

func parseLSN(text string) (uint64, error) {
	lsn, err := pglogrepl.ParseLSN(text)
	if err != nil {
		return 0, fmt.Errorf("the server's LSN %.40q: %w", text, err)
	}
	return uint64(lsn), nil
}

// WALEnd returns where the server's WAL ends: the stream passes that once it has shown all
// that was written, or flushed, before it was asked.
func WALEnd(ctx context.Context, conn *pgx.Conn, flushed bool) (uint64, error) {
	ask := `select pg_current_wal_insert_lsn()::text`
	if flushed {
		ask = `select pg_current_wal_flush_lsn()::text`
	}
	var end string
	if err := conn.QueryRow(ctx, ask).Scan(&end); err != nil {
		return 0, queryFault(err, "read the WAL position")
	}
	lsn, err := parseLSN(end)
	return recordStart(lsn), err
}

// recordStart turns the server's insert position into the position at which
// the last record before it ended. They differ just after a page header, where
// the stream would otherwise never be seen to arrive on an idle server.
func recordStart(lsn uint64) uint64 {
	const page, short, long = 8192, 24, 40
	if header := lsn % page; header == short || header == long {
		return lsn - header
	}
	return lsn
}

func quoteSlot(name string) string { return `"` + name + `"` }

func quoteLiteral(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}
