package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

// From a table to a watched one by the commands that the messages name, and on
// through an ALTER TABLE.
func TestGenAvsc(t *testing.T) {
	db := pgtest.New(t)
	roles := outbox.Roles{Owner: db.Role("owner"), Writer: db.Role("writer"), Daemon: db.Role("daemon")}
	if _, err := outbox.Init(t.Context(), db.Conn(t), outbox.InitOptions{Roles: roles}); err != nil {
		t.Fatal(err)
	}
	db.Exec(t, `create type public.tier as enum ('basic', 'gold');
		create table public.customers (id int primary key, name text not null, tier public.tier not null, balance numeric(12,2), secret text);
		comment on table public.customers is 'Who buys, or: "the buyer".'; comment on column public.customers.name is 'As \written: {"first", "last"}.'`)
	t.Chdir(t.TempDir())
	l := &live{t, []string{"LANG=C.UTF-8", "RUNNEL_POSTGRES_URL=" + db.URL(),
		"RUNNEL_ROLES_OWNER=" + roles.Owner, "RUNNEL_ROLES_WRITER=" + roles.Writer, "RUNNEL_ROLES_DAEMON=" + roles.Daemon}}
	fails := func(exit int, code, text string, args ...string) {
		t.Helper()
		got, stdout, stderr := l.run(t.Context(), append([]string{"schemas", "gen", "avsc"}, args...)...)
		if got != exit || !strings.Contains(stderr, code+" ") || !strings.Contains(stdout+stderr, text) {
			t.Errorf("%q: exit code %d, %s%s", args, got, stdout, stderr)
		}
	}
	gen := func(args ...string) avscResult {
		t.Helper()
		var r avscResult
		l.result(&r, append([]string{"schemas", "gen", "avsc", "--from-table", "public.customers", "--out", "schemas"}, args...)...)
		return r
	}

	fails(2, "USAGE", "--from-table public.customers")
	fails(2, "USAGE", "--out ./schemas", "--from-table", "public.customers")
	fails(2, "TABLE_NOT_WATCHABLE", "there is no table nothing", "--from-table", "nothing", "--out", "schemas", "--aggregate", "x")
	fails(2, "EVENT_INVALID", "its aggregate must be given", "--from-table", "customers", "--out", "schemas")
	fails(2, "TABLE_NOT_WATCHABLE", "no column nope", "--from-table", "customers", "--out", "schemas", "--aggregate", "x", "--exclude", "nope")
	fails(2, "TABLE_NOT_WATCHABLE", "no column a", "--from-table", "customers", "--out", "schemas", "--aggregate", "x", "--key", "a,b")

	if code, _, stderr := l.run(t.Context(), "schemas", "gen", "avsc", "--check", "--from-table", "customers", "--out", "schemas", "--aggregate", "customer", "--exclude", "secret"); code != 2 || !strings.Contains(stderr, "GENERATED_NOT_CURRENT") {
		t.Errorf("%d, %s", code, stderr)
	}
	if _, err := os.Stat("schemas"); err == nil {
		t.Error("--check has written")
	}
	if r := gen("--aggregate", "customer", "--exclude", "secret"); len(r.Files) != 6 || len(r.Changed) != 6 || strings.Join(r.Events, " ") != "CustomerChanged CustomerDeleted" {
		t.Errorf("%+v", r)
	}
	for name, want := range map[string]string{
		"CustomerRow.avsc": `{
  "type": "record",
  "name": "CustomerRow",
  "fields": [
    {"name": "id", "type": "int"},
    {"name": "name", "type": "string", "doc": "As \\written: {\"first\", \"last\"}."},
    {"name": "tier", "type": "CustomerTier"},
    {"name": "balance", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}], "default": null}
  ],
  "doc": "Who buys, or: \"the buyer\"."
}
`,
		"CustomerTier.avsc": `{
  "type": "enum",
  "name": "CustomerTier",
  "symbols": ["basic", "gold"]
}
`,
	} {
		if got, err := os.ReadFile(filepath.Join("schemas", name)); err != nil || string(got) != want {
			t.Errorf("%s: %s%v", name, got, err)
		}
	}
	gen("--aggregate", "customer", "--exclude", "secret", "--check")
	l.must("schemas", "lint", "schemas", "--strict") // nothing that its owner could mend is found

	l.must("init", "--schemas", "schemas")
	db.Exec(t, "select runnel.watch('public.customers', aggregate => 'customer', exclude => array['secret'])")
	if r := gen(); len(r.Changed) != 0 { // as watched
		t.Errorf("%+v", r)
	}
	fails(2, "TABLE_WATCHED_OTHERWISE", "as aggregate customer", "--from-table", "public.customers", "--out", "schemas", "--aggregate", "buyer")

	// Altered: the files differ, and are overwritten when asked.
	db.Exec(t, "alter table public.customers add since date")
	fails(2, "GENERATED_NOT_CURRENT", "CustomerRow.avsc", "--from-table", "public.customers", "--out", "schemas", "--check")
	fails(2, "GEN_FOREIGN_FILE", "CustomerRow.avsc differ from what the table gives", "--from-table", "public.customers", "--out", "schemas")
	if r := gen("--force"); len(r.Changed) != 1 {
		t.Errorf("%+v", r)
	}
	l.must("init", "--schemas", "schemas")
	db.Exec(t, "select runnel.watch('public.customers')")
	if text := l.must("schemas", "gen", "avsc", "--from-table", "public.customers", "--schemas", "schemas"); text != "public.customers: 6 files for CustomerChanged and CustomerDeleted in schemas, 0 changed\n" {
		t.Errorf("%s", text)
	}
	l.must("schemas", "gen", "go", "--schemas", "schemas", "--out", "events")

	// What is there must go together with it, or nothing is written.
	if err := os.WriteFile("schemas/more.avsc", []byte(`{"type": "record", "name": "LineKey", "fields": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	db.Exec(t, `create table public."Lines" (id int primary key, "a,b" text, "it's" text)`)
	fails(2, "SCHEMA_DUPLICATE_NAME", "LineKey", "--from-table", `"Lines"`, "--out", "schemas", "--aggregate", "line", "--exclude", `"a,b",it's`)
	if left, err := filepath.Glob("schemas/Line*"); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if err := os.Remove("schemas/more.avsc"); err != nil {
		t.Fatal(err)
	}

	// The command to run again is whole.
	fails(2, "GENERATED_NOT_CURRENT", `runnel schemas gen avsc --from-table '"Lines"' --aggregate line --key id --exclude '"a,b",it'\''s' --before=true --out schemas --force`,
		"--from-table", `"Lines"`, "--out", "schemas", "--aggregate", "line", "--key", "id", "--exclude", `"a,b",it's`, "--before", "--check")

	// What another table's events are made of is not overwritten, nor what a service made itself.
	db.Exec(t, `create type public.status as enum ('new'); create type public.line_status as enum ('sold');
		create table public.orders (id int primary key, s public.line_status); create table public.order_lines (id int primary key, s public.status)`)
	orders := []string{"--from-table", "public.orders", "--out", "schemas", "--aggregate", "order"}
	lines := []string{"--from-table", "public.order_lines", "--out", "schemas", "--aggregate", "order_line", "--force"}
	l.must(append([]string{"schemas", "gen", "avsc"}, orders...)...)
	fails(2, "GEN_FOREIGN_FILE", "OrderLineStatus.avsc is a type of event OrderChanged, too", lines...)
	if err := os.WriteFile("schemas/RowOperation.avsc", []byte(`{"type": "enum", "name": "RowOperation", "symbols": ["INSERT"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	l.must(append(append([]string{"schemas", "gen", "avsc"}, orders...), "--force")...) // its own, and that of all tables
	if err := os.WriteFile("schemas/OrderPacked.avsc", []byte(`{"type": "record", "name": "OrderPacked", "aggregate": "order", "fields": [{"name": "o", "type": {"type": "array", "items": ["null", "RowOperation"]}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("schemas/RowOperation.avsc", []byte(`{"type": "enum", "name": "RowOperation", "symbols": ["INSERT"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(2, "GEN_FOREIGN_FILE", "RowOperation.avsc is a type of event OrderPacked, too", append(orders, "--force")...)
}

// Laid out, a schema says what it said.
func TestPrettySchema(t *testing.T) {
	for _, text := range []string{
		`{"type":"enum","name":"E","symbols":["A"],"doc":"a,b:c \"d,e\" \\"}`,
		`{"type":"record","name":"R","fields":[],"x":{"fields":[1,2]}}`,
		`{"a\"b":"\\\\\",:","fields":"none"}`,
	} {
		pretty, err := prettySchema(text)
		if err != nil {
			t.Fatal(err)
		}
		var want, got any
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(pretty, &got); err != nil {
			t.Fatalf("%s: %v", pretty, err)
		}
		a, _ := json.Marshal(want)
		b, _ := json.Marshal(got)
		if string(a) != string(b) {
			t.Errorf("%s became %s", text, pretty)
		}
	}
	if _, err := prettySchema("["); err == nil {
		t.Error("no object")
	}
}
