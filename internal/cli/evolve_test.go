package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/evolution"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
)

// refuses requires an exit code and texts of standard output or error.
func (l *live) refuses(want int, texts []string, args ...string) {
	l.t.Helper()
	code, stdout, stderr := l.run(l.t.Context(), args...)
	if code != want {
		l.t.Errorf("%q: exit code %d, want %d", args, code, want)
	}
	for _, text := range texts {
		if !strings.Contains(stdout+stderr, text) {
			l.t.Errorf("%q: no %q in\n%s%s", args, text, stdout, stderr)
		}
	}
}

func (l *live) write(name, text string) {
	l.t.Helper()
	if err := os.WriteFile(filepath.Join("schemas", name), []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// apply plans, applies, and requires that nothing is left to plan.
func (l *live) apply() {
	l.t.Helper()
	var p, left planResult
	l.result(&p, "schemas", "plan")
	l.must("schemas", "apply", "--plan", p.Hash)
	if l.result(&left, "schemas", "plan"); left.Hash != "" || len(left.Steps) != 0 {
		l.t.Fatalf("left to do: %+v", left.Steps)
	}
}

// TestEvolve is the life of a catalog: applied, changed in ways that pass and in ways
// that do not, compared, shown.
func TestEvolve(t *testing.T) {
	db := pgtest.New(t)
	l := newLive(t, db)
	l.refuses(3, []string{"PG_NO_OUTBOX", "runnel init"}, "schemas", "plan")
	l.must("init")
	l.refuses(0, []string{"NOTHING_COMPARED", "the registry holds no event of the namespace"}, "schemas", "check", "--against", "registry")
	l.refuses(2, []string{"SCHEMA_DRIFT", "namespace", "missing"}, "schemas", "drift")
	l.apply()
	l.must("schemas", "drift")

	l.write("placed.avsc", `{"type": "record", "name": "Placed", "aggregate": "order", "fields": [
		{"name": "n", "type": "int"}, {"name": "note", "type": "string", "default": ""}]}`)
	l.write("paid.avsc", `{"type": "record", "name": "Paid", "aggregate": "order", "deprecated": "use Settled", "fields": [{"name": "n", "type": "int"}]}`)
	l.refuses(0, []string{"+ Paid (deprecated: use Settled)", "~ Placed", "deprecated Paid: use Settled"}, "schemas", "plan")
	l.refuses(0, []string{"+ Paid", "+ $.note: string = \"\"", "2 events differ"}, "schemas", "diff")
	l.refuses(2, []string{"order: Placed", "order: Paid", "runnel.event_type: Paid"}, "schemas", "drift")
	var p planResult
	l.result(&p, "schemas", "plan")
	l.refuses(0, []string{"To carry it out: runnel schemas apply schemas --name " + db.Name() + " --plan " + p.Hash}, "schemas", "plan", "schemas", "--name", db.Name())
	l.refuses(2, []string{"SCHEMA_PLAN_STALE"}, "schemas", "apply", "--plan", "0123")
	if mine, err := evolution.Lock(t.Context(), db.Conn(t), time.Second); err != nil || !mine {
		t.Fatal(mine, err)
	}
	l.refuses(3, []string{"SCHEMA_APPLY_BUSY"}, "schemas", "apply", "--plan", p.Hash)
	db.Exec(t, `select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`)
	l.apply()

	client, err := broker.Dial(t.Context(), broker.Config{URL: pulsartest.URL(t), AdminURL: pulsartest.AdminURL(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	namespace := strings.TrimPrefix(l.environ[5], "RUNNEL_TOPICS_NAMESPACE=")
	if _, err := client.Subscribe(t.Context(), broker.Partition{Topic: "persistent://" + namespace + "/order"}, "billing"); err != nil {
		t.Fatal(err)
	}
	l.refuses(0, []string{"Paid", "deprecated", "order"}, "schemas", "list")
	l.refuses(0, []string{"Placed", "FULL_TRANSITIVE", "note", "billing", "not told", "Versions"}, "schemas", "show", "Placed")
	l.refuses(2, []string{"Did you mean Placed?"}, "schemas", "show", "Plaiced")
	l.withoutCatalog()

	// A required field goes: refused, with who is there; and with a weaker level for him.
	l.write("placed.avsc", `{"type": "record", "name": "Placed", "aggregate": "order", "fields": [{"name": "note", "type": "string", "default": ""}]}`)
	refused := []string{"FIELD_WITHOUT_DEFAULT", "placed.avsc:1:1", "Placed $.n", "billing (1 connected"}
	l.refuses(2, append(refused, "SCHEMA_CHANGE_REFUSED"), "schemas", "plan")
	l.refuses(2, append(refused, "SCHEMA_FINDINGS"), "schemas", "check", "--against", "registry")
	l.refuses(2, []string{"SCHEMA_CHANGE_REFUSED"}, "schemas", "apply", "--plan", "0123")
	l.refuses(2, []string{"::error file=schemas/placed.avsc,line=1,col=1,title=FIELD_WITHOUT_DEFAULT::"}, "schemas", "check", "--against", "registry", "--format", "github")
	l.write("catalog.yaml", "events: {Placed: {compatibility: BACKWARD_TRANSITIVE, owner: shop}}\n")
	l.refuses(2, []string{"READER_OF_OLD_VERSION", "billing"}, "schemas", "plan")
	l.write("catalog.yaml", `events: {Placed: {compatibility: BACKWARD_TRANSITIVE, owner: shop}}
waivers:
  - {event: Placed, rule: READER_OF_OLD_VERSION, consumer: billing, reason: it reads note alone, owner: shop, expires: 2999-01-01}
`)
	l.refuses(0, []string{"Waived until 2999-01-01 by shop: it reads note alone"}, "schemas", "plan")
	l.apply()
	l.refuses(0, []string{"shop"}, "schemas", "show", "Placed")

	// A type goes: deprecated, but somebody may need it.
	if err := os.Remove("schemas/paid.avsc"); err != nil {
		t.Fatal(err)
	}
	l.refuses(2, []string{"EVENT_STILL_READ", "billing"}, "schemas", "plan")
	client.Close()
	if err := admin(t).DeleteSubscription(t.Context(), "persistent://"+namespace+"/order", "billing"); err != nil {
		t.Fatal(err)
	}
	l.refuses(0, []string{"- Paid (retired", "types.withdraw"}, "schemas", "plan")
	l.apply()
	l.refuses(0, []string{"retired"}, "schemas", "list")
}

// withoutCatalog requires that list and show, which read the registry, ask for none.
func (l *live) withoutCatalog() {
	l.t.Helper()
	bare := &live{l.t, slices.DeleteFunc(slices.Clone(l.environ), func(v string) bool { return strings.HasPrefix(v, "RUNNEL_SCHEMAS=") })}
	quiet := func(args ...string) {
		l.t.Helper()
		code, stdout, stderr := bare.run(l.t.Context(), args...)
		if code != 0 || stderr != "" || !strings.Contains(stdout, "Placed") || strings.Contains(stdout, "FULL_TRANSITIVE") {
			l.t.Errorf("%q: exit code %d\n%s%s", args, code, stdout, stderr)
		}
	}
	quiet("schemas", "list")
	quiet("schemas", "show", "Placed")
	bare.refuses(0, []string{"Placed", "warning: ", "nowhere: CATALOG_MISSING"}, "schemas", "list", "nowhere")
	bare.refuses(2, []string{"USAGE"}, "schemas", "list", "")

	l.write("broken.avsc", "{")
	l.write("catalog.yaml", "events: {Placed: {compatibility: BACKWARD, owner: stock}, Paid: {owner: till}}\n")
	l.refuses(0, []string{"stock", "till", "warning: what the catalog says of owners and levels may be missing: schemas/broken.avsc:1:2: SCHEMA_SYNTAX"}, "schemas", "list")
	l.refuses(0, []string{"stock", "BACKWARD", "warning: "}, "schemas", "show", "Placed")
	for _, name := range []string{"broken.avsc", "catalog.yaml"} {
		if err := os.Remove(filepath.Join("schemas", name)); err != nil {
			l.t.Fatal(err)
		}
	}
}

func admin(t *testing.T) *broker.Pulsar {
	t.Helper()
	client, err := broker.Dial(t.Context(), broker.Config{URL: pulsartest.URL(t), AdminURL: pulsartest.AdminURL(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// TestCheckWithoutServers compares with a folder and with git.
func TestCheckWithoutServers(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"was", "schemas"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l := &live{t, []string{"LANG=C.UTF-8"}}
	l.write("a.avsc", `{"type": "record", "name": "A", "aggregate": "order", "fields": [{"name": "n", "type": "long"}]}`)
	if err := os.WriteFile("was/a.avsc", []byte(`{"type": "record", "name": "A", "aggregate": "order", "fields": [{"name": "n", "type": "int"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	found := []string{"schemas/a.avsc:1:88: TYPE_MISMATCH A $.n: the writer has long, the reader int. Consumers built with was meet", "1 error, 0 warnings"}
	l.refuses(2, found, "schemas", "check", "schemas", "--against", "was")
	l.refuses(0, []string{"0 errors, 0 warnings"}, "schemas", "check", "schemas", "--against", "was", "--level", "backward")
	l.refuses(2, []string{`"BACKWARDS" is no compatibility level`}, "schemas", "check", "schemas", "--against", "was", "--level", "BACKWARDS")
	l.refuses(2, []string{"--against is missing"}, "schemas", "check", "schemas")
	l.refuses(0, []string{"~ A (was was)", "~ $.n: int -> long", "1 event differs, compared with was"}, "schemas", "diff", "schemas", "--against", "was")
	l.refuses(2, []string{"--plan is missing"}, "schemas", "apply", "schemas")
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(t.TempDir()))
	l.refuses(3, []string{"GIT_FAILED"}, "schemas", "check", "schemas", "--against", "main")
}

// TestAgainstFolderOrBranch: a name that is a folder's and a branch's is neither by chance.
func TestAgainstFolderOrBranch(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	for _, dir := range []string{"released", "schemas"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l := &live{t, []string{"LANG=C.UTF-8"}}
	l.write("a.avsc", `{"type": "record", "name": "A", "aggregate": "order", "fields": []}`)
	l.write("../released/a.avsc", `{"type": "record", "name": "A", "aggregate": "order", "fields": [{"name": "n", "type": "int"}]}`)
	for _, args := range [][]string{{"init", "-q", "-b", "released"}, {"add", "-A"}, {"-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "one"}} {
		if out, err := exec.Command("git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	l.refuses(2, []string{"a folder, and a commit", "--against ./released"}, "schemas", "check", "schemas", "--against", "released")
	l.refuses(2, []string{"FIELD_WITHOUT_DEFAULT"}, "schemas", "check", "schemas", "--against", "./released")
	l.refuses(0, []string{"0 errors"}, "schemas", "check", "schemas", "--against", "refs/heads/released")
	if err := os.Rename("schemas", "events"); err != nil {
		t.Fatal(err)
	}
	l.refuses(0, []string{"events: NOTHING_COMPARED released^0 has no .avsc file in this folder", "1 event against released^0, 1 changed"}, "schemas", "check", "events", "--against", "released^0")
}

func TestMayHoldPassword(t *testing.T) {
	for address, want := range map[string]bool{
		"postgres://shop@localhost/orders": false, "postgres:///orders?host=/tmp": false,
		"postgres://shop:secret@localhost/orders": true, "postgres:///orders?password=x": true, "host=localhost password=x": true, "%": true,
	} {
		if got := mayHoldPassword(address); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}
