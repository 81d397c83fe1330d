package outbox_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

func TestInitIsIdempotent(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	options := outbox.InitOptions{Roles: testRoles(db), EventTypes: []*schemas.EventType{orderPlaced}}
	for run, changed := range []bool{true, false} {
		report, err := outbox.Init(t.Context(), db.Conn(t), options)
		if err != nil {
			t.Fatal(err)
		}
		if report.Changed() != changed || len(report.Steps) != 5 {
			t.Errorf("run %d: changed %v: %+v", run, report.Changed(), report)
		}
	}
	for _, role := range []string{options.Roles.Owner, options.Roles.Writer, options.Roles.Daemon, options.Roles.Reader()} {
		if pgtest.Value[bool](t, db, "select rolsuper or rolcreaterole or rolcreatedb or rolbypassrls from pg_roles where rolname = $1", role) {
			t.Errorf("role %s has more rights than it needs", role)
		}
	}
	if owner := pgtest.Value[string](t, db, "select pubowner::regrole::text from pg_publication where pubname = 'runnel'"); owner != options.Roles.Owner {
		t.Errorf("publication belongs to %s", owner)
	}
	if n := pgtest.Value[int](t, db, "select count(*) from pg_proc where pronamespace = 'runnel'::regnamespace and proowner <> $1::regrole", options.Roles.Owner); n != 2 {
		t.Errorf("%d functions do not belong to the owner", n)
	}
	if n := pgtest.Value[int](t, db, "select count(*) from pg_proc where proname in ('read_kept', 'read_rows') and proowner = $1::regrole", options.Roles.Reader()); n != 2 {
		t.Errorf("%d functions belong to the reader", n)
	}
	if n := pgtest.Value[int](t, db, `select count(*) from pg_proc where pronamespace = 'runnel'::regnamespace and prosecdef
		and not exists (select from unnest(proconfig) c where c = 'search_path=pg_catalog, pg_temp')`); n > 0 {
		t.Errorf("%d SECURITY DEFINER functions without a pinned search_path", n)
	}
	if n := pgtest.Value[int](t, db, `select count(*) from pg_proc where pronamespace = 'runnel'::regnamespace
		and has_function_privilege('public', oid, 'EXECUTE')`); n > 0 {
		t.Errorf("%d functions that PUBLIC may execute", n)
	}
}

// What was damaged by hand is mended, and the report says so.
func TestInitMends(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	for step, damage := range map[string]string{
		"publication": "alter publication runnel set table runnel.outbox",
		"grants":      "revoke insert on runnel.outbox from " + b.roles.Writer,
		"roles":       "alter role " + b.roles.Daemon + " noreplication",
	} {
		b.Exec(t, damage)
		report, err := outbox.Init(t.Context(), b.Conn(t), outbox.InitOptions{Roles: b.roles})
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		for _, s := range report.Steps {
			if s.Name == step && !s.Changed {
				t.Errorf("%s was not mended: %+v", step, report)
			}
		}
		if again, err := outbox.Init(t.Context(), b.Conn(t), outbox.InitOptions{Roles: b.roles}); err != nil || again.Changed() {
			t.Errorf("%s: second init: %+v %v", step, again, err)
		}
	}
}

// The daemon may run init when there is nothing to do (`--auto-apply`).
func TestInitAsDaemon(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	report, err := outbox.Init(t.Context(), pgtest.Conn(t, b.daemon),
		outbox.InitOptions{Roles: b.roles, EventTypes: []*schemas.EventType{orderPlaced}})
	if err != nil {
		t.Fatal(err)
	}
	if last := report.Steps[len(report.Steps)-1]; last.Name != "event types" || !last.Changed {
		t.Errorf("report: %+v", report)
	}
}

func TestInitWithoutRightsHandsOutTheScript(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	url := db.CreateRole(t, "nobody")
	options := outbox.InitOptions{Roles: testRoles(db)}
	_, err := outbox.Init(t.Context(), pgtest.Conn(t, url), options)
	var admin *outbox.AdminError
	if !errors.As(err, &admin) || !errors.Is(err, outbox.ErrNeedsAdmin) {
		t.Fatalf("init: %v", err)
	}
	if f := fault.Find(err); f == nil || f.Code.Class != fault.Environment || f.WhatToDo() == "" {
		t.Errorf("fault: %+v", f)
	}
	if pgtest.Value[bool](t, db, "select exists (select from pg_roles where rolname = $1)", options.Roles.Owner) {
		t.Error("a failed init left a role behind")
	}

	db.Exec(t, admin.Script) // as the administrator
	report, err := outbox.Init(t.Context(), db.Conn(t), options)
	if err != nil || report.Changed() {
		t.Errorf("init after the script: %+v %v", report, err)
	}
}

// A role with CREATEROLE that owns the database does all but REPLICATION.
func TestInitAsDatabaseOwner(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	roles := testRoles(db)
	url := db.CreateRole(t, "dba", "createrole")
	db.Exec(t, "alter database "+db.Name()+" owner to "+db.Role("dba"))
	db.Exec(t, "create role "+roles.Daemon+" login replication")
	report, err := outbox.Init(t.Context(), pgtest.Conn(t, url), outbox.InitOptions{Roles: roles})
	if err != nil || !report.Changed() {
		t.Fatalf("init: %+v %v", report, err)
	}
	if again, err := outbox.Init(t.Context(), pgtest.Conn(t, url), outbox.InitOptions{Roles: roles}); err != nil || again.Changed() {
		t.Errorf("second init: %+v %v", again, err)
	}
}

func TestInitRefuses(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	conn := db.Conn(t)
	for _, names := range []outbox.Roles{
		{Owner: "pg_owner"}, {Owner: "same", Writer: "same"}, {Daemon: strings.Repeat("x", 64)}, {Writer: "a\x00b"},
		{Writer: "runnel_reader"}, {Owner: strings.Repeat("x", 60)}, // the reader's name is made of the owner's
	} {
		if _, err := outbox.Init(t.Context(), conn, outbox.InitOptions{Roles: names}); !errors.Is(err, outbox.ErrInvalidRoles) {
			t.Errorf("%+v: %v", names, err)
		}
	}
	roles := testRoles(db)
	db.Exec(t, "create role "+roles.Owner+" superuser")
	if _, err := outbox.Init(t.Context(), conn, outbox.InitOptions{Roles: roles}); !errors.Is(err, outbox.ErrWrongOwner) {
		t.Errorf("superuser as owner: %v", err)
	}
	db.Exec(t, "alter role "+roles.Owner+" nosuperuser")
	db.Exec(t, "create schema runnel")
	if _, err := outbox.Init(t.Context(), conn, outbox.InitOptions{Roles: roles}); !errors.Is(err, outbox.ErrWrongOwner) {
		t.Errorf("foreign schema: %v", err)
	}
}

func TestMigrateConcurrently(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	const programs = 4
	results := make(chan error, programs)
	for range programs {
		conn := db.Conn(t)
		go func() { results <- outbox.Migrate(context.Background(), conn) }()
	}
	for range programs {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	all, err := outbox.Migrations()
	if err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Value[int](t, db, "select count(*) from runnel.schema_version"); n != len(all) {
		t.Errorf("%d versions recorded, want %d", n, len(all))
	}
	// The table works for its owner without any role.
	publish(t, db.Conn(t), "1")
}

func TestInitConcurrentlyInTwoDatabases(t *testing.T) {
	t.Parallel()
	a, b := pgtest.New(t), pgtest.New(t)
	roles := testRoles(a)
	results := make(chan error, 2)
	for _, conn := range []*pgx.Conn{a.Conn(t), b.Conn(t)} {
		go func() {
			_, err := outbox.Init(context.Background(), conn, outbox.InitOptions{Roles: roles})
			results <- err
		}()
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	b.Exec(t, "drop owned by "+roles.Owner+", "+roles.Writer+", "+roles.Daemon+", "+roles.Reader()+" cascade")
}

// psql runs the script as it is printed; names need quoting.
func TestScriptRunsInPsql(t *testing.T) {
	t.Parallel()
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("no psql on this machine")
	}
	db := pgtest.New(t)
	roles := testRoles(db)
	roles.Writer += ` O'Writer\"`
	script, err := outbox.Script(outbox.Options{Roles: roles})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		cmd := exec.CommandContext(t.Context(), psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", db.URL())
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("psql: %v\n%s", err, out)
		}
	}
	report, err := outbox.Init(t.Context(), db.Conn(t), outbox.InitOptions{Roles: roles})
	if err != nil || report.Changed() {
		t.Errorf("init after psql: %+v %v", report, err)
	}
}

func TestGrantsFileIsCurrent(t *testing.T) {
	t.Parallel()
	const file = "../deploy/grants.sql"
	want, err := outbox.GrantsScript(outbox.Roles{})
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("RUNNEL_UPDATE") != "" {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the package generates (%v); run: RUNNEL_UPDATE=1 go test -run TestGrantsFileIsCurrent ./outbox", file, err)
	}
}

func TestGrantsScriptRuns(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	script, err := outbox.GrantsScript(b.roles)
	if err != nil {
		t.Fatal(err)
	}
	b.Exec(t, "revoke all on runnel.outbox from "+b.roles.Writer)
	b.Exec(t, script)
	publish(t, pgtest.Conn(t, b.writer), "1")
}
