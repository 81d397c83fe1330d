package capture

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// openFails opens and requires a code whose text holds want and no password.
func openFails(t *testing.T, config Config, code *fault.Code, want string) error {
	t.Helper()
	s, err := Open(t.Context(), config)
	if err == nil {
		s.Close()
		t.Fatalf("Open succeeded, want %s", code.ID)
	}
	mustCode(t, err, code)
	found := fault.Find(err)
	text := err.Error() + "\n" + found.WhatToDo()
	if !strings.Contains(text, want) {
		t.Fatalf("got %s\nwant it to hold %q", text, want)
	}
	if strings.Contains(text, "s3cret") {
		t.Fatalf("the password shows: %s", text)
	}
	return err
}

func TestRefusesServers(t *testing.T) {
	good := Server{Version: 150000, VersionIs: "15.0", WALLevel: "logical", Role: "the daemon", Replicates: true}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Server)
		code   *fault.Code
		remedy string
	}{
		"old":            {func(s *Server) { s.Version, s.VersionIs = 140011, "14.11" }, ErrTooOld, "Postgres 15"},
		"standby":        {func(s *Server) { s.Standby = true }, ErrStandby, "primary"},
		"wal_level":      {func(s *Server) { s.WALLevel = "replica" }, ErrWALLevel, "ALTER SYSTEM SET wal_level = 'logical';"},
		"no replication": {func(s *Server) { s.Replicates = false }, ErrNoReplication, `ALTER ROLE "the daemon" REPLICATION;`},
	} {
		t.Run(name, func(t *testing.T) {
			s := good
			c.change(&s)
			err := s.Check()
			mustCode(t, err, c.code)
			if got := fault.Find(err).WhatToDo(); !strings.Contains(got, c.remedy) {
				t.Fatalf("remedy %q", got)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{
		{}, {URL: "postgres://u:s3cret@h:notaport/d"}, {URL: "postgres://u@h/d", Slot: "Bad-Name"},
	} {
		openFails(t, c, ErrConfig, "")
	}
}

func TestSlotName(t *testing.T) {
	seen := map[string]string{}
	for _, pipeline := range []string{"orders", "Orders", "or-ders", "or.ders", strings.Repeat("x", 63), strings.Repeat("x", 64), "é", ""} {
		name := SlotName(pipeline)
		if !slotName.MatchString(name) || seen[name] != "" {
			t.Fatalf("%q gives %q, as does %q", pipeline, name, seen[name])
		}
		seen[name] = pipeline + "."
	}
	if SlotName("orders") != "runnel_orders" {
		t.Fatal(SlotName("orders"))
	}
}

func TestUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	_ = closed.Close()
	openFails(t, Config{URL: "postgres://u:s3cret@" + address + "/d"}, ErrUnreachable, address)
}

// serve answers each connection with what reply does.
func serve(t *testing.T, reply func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			reply(conn)
			_ = conn.Close()
		}
	}()
	return "postgres://u:s3cret@" + l.Addr().String() + "/d?sslmode=disable"
}

// TestWrongServer: something answers, but not Postgres, or not at all.
func TestWrongServer(t *testing.T) {
	http := serve(t, func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) })
	openFails(t, Config{URL: http}, ErrUnreachable, "127.0.0.1")
	var mute []net.Conn
	silent := serve(t, func(c net.Conn) {
		b := make([]byte, 1000)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		for n, err := c.Read(b); err == nil && n > 0; n, err = c.Read(b) {
		}
		mute = append(mute, c)
	})
	openFails(t, Config{URL: silent, ConnectTimeout: 200 * time.Millisecond}, ErrUnreachable, "127.0.0.1")
}

// TestConnectErrors: what a server says when it refuses a connection.
func TestConnectErrors(t *testing.T) {
	for _, c := range []struct {
		sqlstate, message string
		code              *fault.Code
		halts             bool
	}{
		{"53300", "number of requested standby connections exceeds max_wal_senders (currently 10)", ErrNoWALSender, false},
		{"53300", "sorry, too many clients already", ErrUnreachable, false},
		{"57P03", "the database system is starting up", ErrUnreachable, false},
		{"28P01", "password authentication failed for user \"u\"", ErrAuth, false},
		{"42501", "must be superuser or replication role to start walsender", ErrNoReplication, true},
		{"3D000", "database \"d\" does not exist", ErrNoDatabase, true},
	} {
		url := serve(t, func(conn net.Conn) {
			backend := pgproto3.NewBackend(conn, conn)
			if _, err := backend.ReceiveStartupMessage(); err != nil {
				return
			}
			backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: c.sqlstate, Message: c.message})
			_ = backend.Flush()
		})
		err := openFails(t, Config{URL: url}, c.code, "")
		if Halts(err) != c.halts {
			t.Fatalf("%s: Halts is %v", c.message, !c.halts)
		}
	}
}

// TestStreamErrors: what a server says instead of streaming, or amid it.
func TestStreamErrors(t *testing.T) {
	for _, c := range []struct {
		sqlstate, message string
		code              *fault.Code
	}{
		{"55006", `replication slot "s" is active for PID 7`, ErrSlotBusy},
		{"42704", `replication slot "s" does not exist`, ErrSlotMissing},
		{"42704", `publication "runnel" does not exist`, ErrPublication},
		{"58P01", "requested WAL segment 000000010000000000000001 has already been removed", ErrSlotLost},
		{"55000", `can no longer get changes from replication slot "s"`, ErrSlotLost},
		{"42501", "must be superuser or replication role to use replication slots", ErrGrant},
	} {
		mustCode(t, streamFault(&pgconn.PgError{Code: c.sqlstate, Message: c.message}, "s"), c.code)
	}
	if err := streamFault(&pgconn.PgError{Code: "57P01", Message: "terminating connection"}, "s"); fault.Find(err) != nil || Halts(err) {
		t.Fatalf("got %v", err)
	}
	mustCode(t, queryFault(&pgconn.PgError{Code: "53400", Message: "alle Replikations-Slots sind in Benutzung", Routine: "ReplicationSlotCreate"}, "create slot"), ErrNoSlot)
}

// TestBadInput: each set-up that is wrong, on the real server.
func TestBadInput(t *testing.T) {
	f := newFixture(t)
	daemon := f.Role("daemon")
	with := func(change func(*Config)) Config {
		c := f.config
		change(&c)
		return c
	}
	t.Run("no database", func(t *testing.T) {
		openFails(t, with(func(c *Config) { c.URL = strings.Replace(c.URL, "/"+f.Name()+"?", "/nosuch?", 1) }), ErrNoDatabase, "nosuch")
	})
	t.Run("role unknown", func(t *testing.T) {
		openFails(t, with(func(c *Config) { c.URL = withUser(t, c.URL, "nosuch_role", "s3cret") }), ErrAuth, "nosuch_role")
	})
	for _, c := range []struct {
		name, do, undo string
		code           *fault.Code
		want           string
	}{
		{"no replication", "alter role " + daemon + " noreplication", "alter role " + daemon + " replication",
			ErrNoReplication, "ALTER ROLE \"" + daemon + "\" REPLICATION;"},
		{"no grant", "revoke insert on runnel.epoch from " + daemon, "grant insert on runnel.epoch to " + daemon,
			ErrGrant, "GRANT INSERT ON runnel.epoch TO \"" + daemon + "\";"},
		{"no usage", "revoke usage on schema runnel from " + daemon, "grant usage on schema runnel to " + daemon,
			ErrGrant, "GRANT USAGE ON SCHEMA runnel"},
		{"publication without the table", "alter publication runnel set table runnel.control", "alter publication runnel set table runnel.outbox, runnel.control",
			ErrPublication, "ALTER PUBLICATION \"runnel\" SET TABLE runnel.outbox, runnel.control;"},
		{"publication of more", "create table public.more (); alter publication runnel add table public.more", "alter publication runnel drop table public.more",
			ErrPublication, "public.more"},
		{"publication of updates", "alter publication runnel set (publish = 'insert, update')", "alter publication runnel set (publish = 'insert')",
			ErrPublication, "SET (publish = 'insert', publish_via_partition_root = true);"},
		{"publication of partitions", "alter publication runnel set (publish_via_partition_root = false)", "alter publication runnel set (publish_via_partition_root = true)",
			ErrPublication, "publish_via_partition_root = true"},
		{"publication with a filter", "alter publication runnel set table runnel.outbox where (seq > 5), runnel.control", "alter publication runnel set table runnel.outbox, runnel.control",
			ErrPublication, "row filter"},
		{"publication of columns", "alter publication runnel set table runnel.outbox (seq), runnel.control", "alter publication runnel set table runnel.outbox, runnel.control",
			ErrPublication, "column list"},
		{"no publication", "alter publication runnel rename to gone", "alter publication gone rename to runnel",
			ErrPublication, "CREATE PUBLICATION runnel"},
		{"no table", "alter table runnel.progress rename to gone", "alter table runnel.gone rename to progress",
			ErrNoOutbox, "runnel init"},
		{"no schema", "alter schema runnel rename to gone", "alter schema gone rename to runnel",
			ErrNoOutbox, "runnel init"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.Exec(t, c.do)
			defer f.Exec(t, c.undo)
			if err := openFails(t, f.config, c.code, c.want); !Halts(err) {
				t.Fatal("does not halt")
			}
		})
	}
	if n := pgtest.Value[int](t, f.DB, "select count(*) from pg_replication_slots where database = $1", f.Name()); n != 0 {
		t.Fatalf("%d slots were made", n)
	}
	follow(t, f.open(t)).mustStop() // and nothing is left wrong
}

// TestSlotCases: the table above ensureSlot.
func TestSlotCases(t *testing.T) {
	f := newFixture(t)
	slot := f.config.Slot
	f.Exec(t, "select pg_create_logical_replication_slot($1, 'test_decoding')", slot)
	openFails(t, f.config, ErrSlotForeign, "test_decoding")
	f.Exec(t, "select pg_drop_replication_slot($1)", slot)
	f.Exec(t, "select pg_create_physical_replication_slot($1)", slot)
	openFails(t, f.config, ErrSlotForeign, "physical")
	f.Exec(t, "select pg_drop_replication_slot($1)", slot)

	// Never recorded: made anew, unless something was published.
	f.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", slot)
	published := f.config
	published.Published = func(context.Context) (bool, error) { return true, nil }
	openFails(t, published, ErrSlotMissing, "has published")
	f.Exec(t, "insert into runnel.progress (pipeline, confirmed_lsn) values ('p', '0/1')")
	openFails(t, f.config, ErrSlotMissing, "has published")
	f.Exec(t, "delete from runnel.progress")
	f.insert(t, 1, 1, "before the slot made anew")
	r := follow(t, f.open(t))
	r.await(1)
	pgtest.Eventually(t, patience, func() bool {
		return pgtest.Value[bool](t, f.DB, "select snapshot_done from runnel.pipeline")
	})

	// In use: who holds it, at Run as well as before the slot is recorded.
	pid := pgtest.Value[int32](t, f.DB, "select active_pid from pg_replication_slots where slot_name = $1", slot)
	second := start(t, f.open(t))
	drain(second)
	close(second.ended)
	mustCode(t, second.err, ErrSlotBusy)
	if want := fmt.Sprintf(`pid %d, application "runnel/p"`, pid); !strings.Contains(second.err.Error(), want) || Halts(second.err) {
		t.Fatalf("got %v, want it to name %s", second.err, want)
	}
	f.Exec(t, "create table kept as select * from runnel.pipeline; delete from runnel.pipeline")
	openFails(t, f.config, ErrSlotBusy, fmt.Sprintf("pg_terminate_backend(%d)", pid))
	f.Exec(t, "insert into runnel.pipeline select * from kept")
	r.mustStop()

	// Recorded.
	f.Exec(t, "update runnel.pipeline set slot = 'another'")
	openFails(t, f.config, ErrSlotMismatch, "another")
	f.Exec(t, "update runnel.pipeline set slot = $1", slot)
	f.Exec(t, "update runnel.epoch set timeline = timeline + 1")
	openFails(t, f.config, ErrEpochChanged, "timeline")
	f.Exec(t, "update runnel.epoch set timeline = timeline - 1")
	f.Exec(t, "create table epochs as select * from runnel.epoch; delete from runnel.epoch")
	openFails(t, f.config, ErrEpochChanged, "no history")
	f.Exec(t, "insert into runnel.epoch select * from epochs")
	mustCode(t, Slot{Name: "s", Exists: true, WALStatus: "lost"}.CheckUsable(), ErrSlotLost)
	f.Exec(t, "select pg_drop_replication_slot($1)", slot)
	if err := openFails(t, f.config, ErrSlotMissing, slot); !Halts(err) {
		t.Fatal("does not halt")
	}
	if pgtest.Value[int](t, f.DB, "select count(*) from pg_replication_slots where slot_name = $1", slot) != 0 {
		t.Fatal("the slot was made again")
	}
}

// TestMovedBetween: another process streams between Open and Run.
func TestMovedBetween(t *testing.T) {
	f := newFixture(t)
	r := follow(t, f.open(t))
	<-r.Started()
	late := f.open(t)
	f.insert(t, 1, 1, "a")
	r.await(1)
	pgtest.Eventually(t, patience, func() bool { r.mu.Lock(); defer r.mu.Unlock(); return len(r.commits) == 2 })
	r.mustStop()
	l := start(t, late)
	drain(l)
	close(l.ended)
	if l.err == nil || Halts(l.err) || !strings.Contains(l.err.Error(), "moved") {
		t.Fatalf("got %v", l.err)
	}
}

// TestControl: a record for another pipeline passes; one for ours halts, and
// nothing after it is given.
func TestControl(t *testing.T) {
	f := newFixture(t)
	r := follow(t, f.open(t))
	f.Exec(t, "insert into runnel.control (pipeline, kind) values ('another', 'x')")
	f.insert(t, 1, 1, "a")
	r.await(1)
	f.Exec(t, "insert into runnel.control (pipeline, kind) values ('p', 'generation')")
	f.insert(t, 2, 2, "a")
	err := r.wait()
	mustCode(t, err, ErrControlUnknown)
	if !Halts(err) || payloads(r.received()) != "1" {
		t.Fatalf("got %v after %s", err, payloads(r.received()))
	}
}

// TestAlteredOutbox: a column more, while running, halts and loses nothing.
func TestAlteredOutbox(t *testing.T) {
	f := newFixture(t)
	r := follow(t, f.open(t))
	f.insert(t, 1, 1, "a")
	r.await(1)
	f.Exec(t, "alter table runnel.outbox add column note text")
	f.insert(t, 2, 2, "a")
	err := r.wait()
	mustCode(t, err, ErrOutboxShape)
	if !strings.Contains(err.Error(), `"note"`) || !Halts(err) {
		t.Fatalf("got %v", err)
	}
	again := start(t, f.open(t))
	drain(again)
	close(again.ended)
	mustCode(t, again.err, ErrOutboxShape)
}

func TestRunsOnce(t *testing.T) {
	f := newFixture(t)
	s := f.open(t)
	r := follow(t, s)
	<-r.Started()
	if err := s.Run(t.Context(), nil); err == nil {
		t.Fatal("ran twice")
	}
	r.mustStop()
}

// TestFaults: codes are unique and say what to do.
func TestFaults(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Faults {
		if seen[c.ID] || c.Cause == "" || c.Remedy == "" {
			t.Fatalf("code %s", c.ID)
		}
		seen[c.ID] = true
	}
	if Halts(nil) || Halts(pgx.ErrNoRows) || Halts(ErrSlotBusy) || !Halts(fmt.Errorf("run: %w", ErrSlotMissing.New("x"))) {
		t.Fatal("Halts")
	}
}
