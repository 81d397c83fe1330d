package walwatch

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// State is what the server tells of the WAL that it keeps.
type State struct {
	Slot capture.Slot
	// Limit is how many bytes of WAL the server keeps for a slot at most:
	// max_slot_wal_keep_size, or wal_keep_size if that is more. -1: no limit.
	Limit int64
	// Safe is how many more bytes may be written before the slot can be lost,
	// as the server counts them, in whole files; below 0 once they are written.
	// nil: there is no limit, or the slot is lost.
	Safe *int64
	// Inactive is for how long nobody has read the slot; 0 while somebody does,
	// and where the server does not say (before 17).
	Inactive time.Duration
	// IdleTimeout is idle_replication_slot_timeout; 0: none (always, before 18).
	IdleTimeout time.Duration
	// Holder is the server's oldest transaction that may have written: that from
	// whose beginning on WAL is kept. nil: none, or nobody asked, as little is kept.
	Holder *Holder
	// Other is that other slot which keeps most, unless it is lost; nil: none.
	Other *Other
	// Absent are the slots of synchronized_standby_slots that do not exist, or from which
	// nobody streams. A slot that standbys can take over (17) shows nothing that they lack.
	Absent []string
}

// Lag is how many bytes of WAL are written and not confirmed. It is not known where there is
// no slot, or one that confirms nothing.
func (s State) Lag() (bytes int64, known bool) {
	if !s.Slot.Exists || s.Slot.ConfirmedFlush == 0 {
		return 0, false
	}
	return int64(s.Slot.LagBytes()), true
}

// Held is how much of the kept WAL is confirmed: the server keeps it as decoding
// would begin there again, for a transaction that was open then. Up to 15 s of
// WAL it is always; see docs/decisions/no-heartbeat.md.
func (s State) Held() int64 {
	return max(0, int64(s.Slot.RetainedBytes())-int64(s.Slot.LagBytes()))
}

// Holder is a transaction that is open, or prepared.
type Holder struct {
	XID      string
	PID      int32  // of its session; 0: it is prepared
	GID      string // of a prepared one
	Database string
	User     string
	// Application and Age are a session's. Age is 0 where our role may not see it.
	Application string
	Age         time.Duration
}

// Other is another slot of the server.
type Other struct {
	Name     string
	Active   bool
	Retained int64
	Status   string // wal_status
}

// Read reads the state of a slot; one that does not exist has Slot.Exists false.
// Any role may ask.
func Read(ctx context.Context, conn *pgx.Conn, name string) (State, error) {
	var s State
	var err error
	if s.Slot, err = capture.ReadSlot(ctx, conn, name); err != nil {
		return State{}, err
	}
	if err := s.readLimits(ctx, conn); err != nil {
		return State{}, wire.QueryFault(err, "read how much WAL is kept")
	}
	if s.mayBeHeld() {
		if err := s.readHolder(ctx, conn); err != nil {
			return State{}, wire.QueryFault(err, "look for the oldest transaction")
		}
	}
	return s, nil
}

// readLimits reads what this version of the server has of columns and settings.
func (s *State) readLimits(ctx context.Context, conn *pgx.Conn) error {
	var slotLimit, walLimit int64
	var inactive, timeout float64
	var other, status *string
	var active *bool
	var retained *int64
	err := conn.QueryRow(ctx, `
		select pg_size_bytes(current_setting('max_slot_wal_keep_size')), pg_size_bytes(current_setting('wal_keep_size')),
			coalesce(extract(epoch from current_setting('idle_replication_slot_timeout', true)::interval), 0)::float8,
			s.safe_wal_size,
			case when coalesce((to_jsonb(s)->>'failover')::boolean, false) then array(
				select name from (select trim(both '" ' from n) as name from string_to_table(coalesce(current_setting('synchronized_standby_slots', true), ''), ',') n) t
				where name <> '' and name not in (select slot_name from pg_replication_slots where active)) else '{}'::text[] end,
			case when s.active then 0 else
				coalesce(extract(epoch from now() - (to_jsonb(s)->>'inactive_since')::timestamptz), 0) end::float8,
			o.slot_name::text, o.active, o.wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), o.restart_lsn)::bigint
		from (select) one
		left join pg_replication_slots s on s.slot_name = $1
		left join lateral (select * from pg_replication_slots
			where slot_name <> $1 and restart_lsn is not null and wal_status <> 'lost' order by restart_lsn limit 1) o on true`,
		s.Slot.Name).Scan(&slotLimit, &walLimit, &timeout, &s.Safe, &s.Absent, &inactive, &other, &active, &status, &retained)
	if err != nil {
		return err
	}
	s.Limit = -1
	if slotLimit >= 0 {
		s.Limit = max(slotLimit, walLimit)
	}
	s.IdleTimeout, s.Inactive = seconds(timeout), seconds(max(0, inactive))
	if other != nil {
		s.Other = &Other{Name: *other, Active: *active, Retained: *retained, Status: *status}
	}
	return nil
}

// readHolder looks for the oldest transaction that has an id. Whose it is any
// role may see, since when only some.
func (s *State) readHolder(ctx context.Context, conn *pgx.Conn) error {
	var h Holder
	var age float64
	err := conn.QueryRow(ctx, `
		select xid::text, coalesce(pid, 0), coalesce(gid, ''), coalesce(database, ''), coalesce("user", ''), coalesce(application, ''),
			coalesce(extract(epoch from now() - since), 0)::float8
		from (
			select backend_xid, pid, null, datname::text, usename::text, application_name, xact_start
			from pg_stat_activity where backend_xid is not null and pid <> pg_backend_pid()
			union all
			select transaction, null, gid, database::text, owner::text, null, prepared from pg_prepared_xacts
		) t (xid, pid, gid, database, "user", application, since)
		order by age(xid) desc limit 1`).Scan(&h.XID, &h.PID, &h.GID, &h.Database, &h.User, &h.Application, &age)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	h.Age = seconds(max(0, age))
	s.Holder = &h
	return err
}

func seconds(n float64) time.Duration { return time.Duration(n * float64(time.Second)) }
