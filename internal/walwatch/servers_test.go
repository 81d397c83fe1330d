package walwatch

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

const patience = 30 * time.Second

// stage is a slot that nobody reads, on a server whose settings are the test's.
type stage struct {
	t    *testing.T
	db   *pgtest.DB
	conn *pgx.Conn
	slot string
	// plain is a role without any right: what it may not see it must not need.
	plain *pgx.Conn
}

func newStage(t *testing.T) (s *stage, major int) {
	t.Helper()
	major = pgtest.Value[int](t, pgtest.New(t), "select current_setting('server_version_num')::int") / 10000
	options := devstack.Options{Postgres: true, PGVersion: strconv.Itoa(major)}
	if err := devstack.Installed(t.Context(), options); err != nil {
		t.Skip(err) // the shared server is another machine's
	}
	db := pgtest.NewOn(t, stacktest.Up(t, options).PostgresURL)
	s = &stage{t: t, db: db, conn: db.Conn(t), slot: db.Slot("s"), plain: pgtest.Conn(t, db.CreateRole(t, "plain"))}
	db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", s.slot)
	db.Exec(t, "create table t (n int)")
	return s, major
}

func (s *stage) read() State {
	s.t.Helper()
	st, err := Read(s.t.Context(), s.plain, s.slot)
	if err != nil {
		s.t.Fatal(err)
	}
	return st
}

// expect reads until the warnings are those, and returns the last.
func (s *stage) expect(want string) *fault.Error {
	s.t.Helper()
	var got []*fault.Error
	pgtest.Eventually(s.t, patience, func() bool {
		got = s.read().Warnings(nil)
		return codes(got) == want
	}, "the warnings %q, have %s", want, func() string { return codes(got) })
	if len(got) == 0 {
		return nil
	}
	return got[len(got)-1]
}

// well waits until there is nothing to warn of.
func (s *stage) well() {
	s.t.Helper()
	_ = s.expect("")
}

// write makes so much WAL.
func (s *stage) write(mib int) {
	s.t.Helper()
	s.db.Exec(s.t, "select pg_logical_emit_message(true, 'test', repeat('x', $1 << 20))", mib)
}

// confirm does as a daemon that has published everything: the slot is then kept
// back by open transactions alone.
func (s *stage) confirm() {
	s.t.Helper()
	s.db.Exec(s.t, "checkpoint") // logs which transactions run
	s.db.Exec(s.t, "select pg_replication_slot_advance($1, pg_current_wal_lsn())", s.slot)
	s.db.Exec(s.t, "checkpoint")
	s.db.Exec(s.t, "select pg_replication_slot_advance($1, pg_current_wal_lsn())", s.slot)
}

// set changes a setting of the server and waits until sessions have it.
func (s *stage) set(name, value string) {
	s.t.Helper()
	s.db.Exec(s.t, "alter system set "+name+" = '"+value+"'")
	s.db.Exec(s.t, "select pg_reload_conf()")
	pgtest.Eventually(s.t, patience, func() bool {
		var now string
		err := s.plain.QueryRow(s.t.Context(), "select current_setting($1)", name).Scan(&now)
		return err == nil && now == value
	}, "%s is %s", name, value)
}

// remedy runs the SQL of a remedy as it stands there, but for what is left out.
func (s *stage) remedy(e *fault.Error, without string) {
	s.t.Helper()
	ran := 0
	for line := range strings.Lines(e.WhatToDo()) {
		if sql, ok := strings.CutPrefix(line, "  "); ok && (without == "" || !strings.Contains(sql, without)) {
			s.db.Exec(s.t, sql)
			ran++
		}
	}
	if ran == 0 {
		s.t.Errorf("no SQL in %q", e.WhatToDo())
	}
}

// TestSlotsEnd takes a slot from well to lost, and back where its remedies say
// that there is a way back.
func TestSlotsEnd(t *testing.T) {
	s, major := newStage(t)
	s.set("max_slot_wal_keep_size", "-1")
	st := s.read()
	if codes(st.Hazards()) != "WAL_UNLIMITED" || st.Safe != nil || st.Limit != -1 || st.Other != nil {
		t.Errorf("%+v", st)
	}
	s.well()

	// Of a limit that the server counts in files of 16 MiB.
	s.remedy(st.Hazards()[0], "")
	s.set("max_slot_wal_keep_size", "64MB")
	if st = s.read(); len(st.Hazards()) > 0 || st.Safe == nil || *st.Safe < 64<<20 || st.Limit != 64<<20 {
		t.Errorf("%+v", st)
	}
	s.write(48)
	if e := s.expect("SLOT_AT_RISK"); strings.Contains(e.Message, "transaction") {
		t.Error(e)
	}
	s.confirm()
	s.well()

	// Past the limit, while nothing is removed yet: what the remedy does is enough.
	for range 7 {
		s.write(16)
	}
	e := s.expect("SLOT_AT_RISK")
	if st = s.read(); st.Slot.WALStatus != "unreserved" || !strings.Contains(e.Message, "unreserved") || *st.Safe > 0 {
		t.Errorf("%v: %+v, %d", e, st.Slot, *st.Safe)
	}
	s.remedy(e, "")
	s.well()
	if st = s.read(); st.Slot.WALStatus == "unreserved" || st.Slot.WALStatus == "lost" {
		t.Errorf("%+v", st.Slot)
	}

	if major >= 18 {
		s.set("idle_replication_slot_timeout", "2s")
		e := s.expect("SLOT_IDLE_TIMEOUT")
		if st = s.read(); codes(st.Hazards()) != "SLOT_IDLE_TIMEOUT" || st.IdleTimeout != 2*time.Second || st.Inactive <= 0 {
			t.Errorf("%+v", st)
		}
		s.remedy(e, "")
		s.well()
	}

	s.set("max_slot_wal_keep_size", "1MB")
	s.db.Exec(t, "checkpoint")
	if e := s.expect("SLOT_LOST"); !strings.Contains(e.Message, "wal_removed") || s.read().Safe != nil {
		t.Error(e)
	}
	// One that is lost keeps nothing.
	s.db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", s.db.Slot("o"))
	if st, err := Read(t.Context(), s.plain, s.db.Slot("o")); err != nil || st.Other != nil {
		t.Errorf("%+v, %v", st.Other, err)
	}
	if st = s.read(); st.Other == nil || st.Other.Name != s.db.Slot("o") || st.Other.Active {
		t.Errorf("%+v", st.Other)
	}
}

// TestHeldBack leaves transactions open, and has the remedies end them.
func TestHeldBack(t *testing.T) {
	s, _ := newStage(t)
	s.set("max_slot_wal_keep_size", "64MB")
	session := s.db.Conn(t)
	if _, err := session.Exec(t.Context(), "set application_name = 'forgotten'; begin; insert into t values (1)"); err != nil {
		t.Fatal(err)
	}
	s.write(48)
	s.confirm()
	e := s.expect("SLOT_AT_RISK WAL_HELD_BY_TRANSACTION")
	if !strings.Contains(e.Message, `application "forgotten"`) || !strings.Contains(e.Message, "database "+s.db.Name()) {
		t.Error(e)
	}
	if st := s.read(); st.Holder.PID != int32(session.PgConn().PID()) || st.Holder.Age != 0 || st.Held() < 48<<20 {
		t.Errorf("%+v", st.Holder) // its age is not for a plain role to see
	}
	if st, err := Read(t.Context(), s.conn, s.slot); err != nil || st.Holder.Age <= 0 {
		t.Errorf("%+v, %v", st.Holder, err)
	}
	s.remedy(e, "")
	if err := session.Ping(t.Context()); err == nil {
		t.Error("the session is still there")
	}
	s.confirm()
	s.well()

	s.db.Exec(t, "begin; insert into t values (2); prepare transaction 'it''s'")
	s.write(48)
	s.confirm()
	e = s.expect("SLOT_AT_RISK WAL_HELD_BY_TRANSACTION")
	if !strings.Contains(e.Message, "prepared transaction 'it''s'") {
		t.Error(e)
	}
	s.remedy(e, "COMMIT PREPARED")
	s.confirm()
	s.well()
	if n := pgtest.Value[int](t, s.db, "select count(*) from t"); n != 0 {
		t.Errorf("%d rows", n)
	}
	for _, code := range Faults { // each is SQL that runs
		if code != ErrUnlimited && code != ErrSlotAtRisk && code != ErrIdleTimeout && strings.Contains(code.Remedy, "\n  ") {
			s.remedy(code.New("x"), "")
		}
	}
}
