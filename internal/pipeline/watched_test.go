package pipeline_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/examples/watched"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
)

// pgbenchTables are made as pgbench -i makes them.
const pgbenchTables = `
	create table pgbench_branches (bid int primary key, bbalance int, filler char(88)) with (fillfactor = 100);
	create table pgbench_tellers  (tid int primary key, bid int, tbalance int, filler char(84)) with (fillfactor = 100);
	create table pgbench_accounts (aid int primary key, bid int, abalance int, filler char(84)) with (fillfactor = 100);
	create table pgbench_history  (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
	insert into pgbench_branches select i, 0 from generate_series(1, 2) i;
	insert into pgbench_tellers select i, 1 + i % 2, 0 from generate_series(1, 20) i;
	insert into pgbench_accounts select i, 1 + i % 2, 0, '' from generate_series(1, 20000) i;`

// pgbenchScript is pgbench's own, and what else may happen to a table.
const pgbenchScript = `
\set aid random(1, 20000)
\set bid random(1, 2)
\set tid random(1, 20)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);
END;
`

// TestWatchedTables: copies of four tables that are watched under load, their
// first state published meanwhile, the daemon killed in the middle.
func TestWatchedTables(t *testing.T) {
	w := newWorld(t)
	w.cfg.Schemas = "../../examples/watched/schemas"
	w.init()
	conn := w.db.Conn(t)
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	exec(pgbenchTables)
	catalog, err := wire.Catalog(w.cfg.Schemas)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := outbox.RegisterEventTypes(t.Context(), conn, catalog.Events()); err != nil {
		t.Fatal(err)
	}
	copies := pgtest.New(t)
	cfg := consumers.Config{Database: copies.Pool(t), Namespace: w.cfg.Namespace, Logger: w.cfg.Logger}
	cfg.Broker.URL, cfg.Broker.AdminURL = w.cfg.Broker.URL, w.cfg.Broker.AdminURL
	p, err := watched.Projection(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})

	// The history's rows can't be told apart, so it is watched from its first row on.
	exec(`select runnel.watch('public.pgbench_history', aggregate => 'history', key => 'aid')`)
	first := w.spawn()
	load := pgbench(t, w.db.URL(), 4, 700)
	for statement := range strings.SplitSeq(watched.Watch, ";\n") {
		if strings.TrimSpace(statement) != "" {
			exec(statement)
		}
	}
	first.killAfter(t, 3000)
	w.spawn()
	load()
	w.copiesEqual(copies)
	// The truncate that begins every run of pgbench, and rows that go and change key.
	exec(`truncate pgbench_history`)
	exec(`delete from pgbench_accounts where aid % 7 = 0; update pgbench_accounts set aid = aid + 100000 where aid % 11 = 0`)
	pgbench(t, w.db.URL(), 2, 300)()
	w.copiesEqual(copies)
}

// copiesEqual waits until the copies of pgbench's tables equal the source.
func (w *world) copiesEqual(copies *pgtest.DB) {
	t := w.t
	t.Helper()
	for _, table := range []string{"branches", "tellers", "accounts", "history"} {
		const sql = "select format('%s rows, %s', count(*), md5(string_agg(x::text, ' ' order by x::text))) from "
		want := pgtest.Value[string](t, w.db, sql+"public.pgbench_"+table+" x")
		copied := func() string { return pgtest.Value[string](t, copies, sql+watched.Name+"."+table+" x") }
		pgtest.Eventually(t, 60*time.Second, func() bool {
			return copied() == want
		}, "the copy of %s equals the source: %s", table, func() string { return want + ", not " + copied() })
		t.Logf("%s: %s", table, want)
	}
}

// pgbench runs the script in the background, n times by each client, with
// Postgres' own program. The returned function waits for it.
func pgbench(t *testing.T, url string, clients, n int) (wait func()) {
	t.Helper()
	program := pgbenchProgram()
	if program == "" {
		t.Log("no pgbench here (Debian's package postgresql has it): PL/pgSQL writes the same instead")
		return scripted(t, url, clients, n)
	}
	script := t.TempDir() + "/script.sql"
	if err := os.WriteFile(script, []byte(pgbenchScript), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-n", "-f", script, "-c", fmt.Sprint(clients), "-t", fmt.Sprint(n), config.Database)
	cmd.Env = append(os.Environ(), "PGHOST="+config.Host, fmt.Sprintf("PGPORT=%d", config.Port),
		"PGUSER="+config.User, "PGPASSWORD="+config.Password, "PGSSLMODE=disable")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("pgbench: %v\n%s", err, &out)
		}
		t.Log(out.String())
	}
}

// pgbenchProgram finds pgbench where Debian has it, which is not in PATH, or in
// PATH; "" where there is none, as with a Postgres from Maven. What Debian has in
// PATH is a wrapper, which is there without the program.
func pgbenchProgram() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench") // the pattern is good
	if program, err := exec.LookPath("pgbench"); err == nil {
		found = append([]string{program}, found...)
	}
	for _, program := range slices.Backward(found) {
		if exec.Command(program, "--version").Run() == nil {
			return program
		}
	}
	return ""
}

// scripted does what the script says where there is no pgbench.
func scripted(t *testing.T, url string, clients, n int) (wait func()) {
	const sql = `do $$ declare a int; b int; c int; d int; begin
		for i in 1 .. %d loop
			a := 1 + random() * 19999; b := 1 + random(); c := 1 + random() * 19; d := random() * 10000 - 5000;
			update pgbench_accounts set abalance = abalance + d where aid = a;
			update pgbench_tellers set tbalance = tbalance + d where tid = c;
			update pgbench_branches set bbalance = bbalance + d where bid = b;
			insert into pgbench_history (tid, bid, aid, delta, mtime) values (c, b, a, d, clock_timestamp());
			commit;
		end loop; end $$`
	done := make(chan error, clients)
	for range clients {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := conn.Exec(t.Context(), fmt.Sprintf(sql, n))
			_ = conn.Close(context.WithoutCancel(t.Context()))
			done <- err
		}()
	}
	return func() {
		for range clients {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
}
