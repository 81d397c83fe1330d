package evolvetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/examples/quickstart/orders"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/internal/readerstest/programs"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		programs.Clean()
		if binary != "" {
			_ = os.RemoveAll(filepath.Dir(binary))
		}
		os.Exit(code)
	}))
}

const (
	oldCatalog = "../../examples/quickstart/schemas"
	newCatalog = "schemas"
)

// patience bounds whatever is waited for; a machine may be busy.
const patience = 60 * time.Second

var (
	build  sync.Once
	binary string // runnel, built once for all tests
)

// runnel builds the binary.
func buildRunnel(t *testing.T) {
	t.Helper()
	build.Do(func() {
		dir, err := os.MkdirTemp("", "runnel-evolvetest-")
		if err != nil {
			t.Fatal(err)
		}
		binary = filepath.Join(dir, "runnel")
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/runnel").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	})
}

// world is a source database with an outbox, and the topics of its events. Three roles
// use it, each with no more rights than it needs: services, the daemon, who also
// applies schemas, and the administrator, who made the outbox.
type world struct {
	t         *testing.T
	db        *pgtest.DB
	client    *broker.Pulsar
	namespace string
	catalog   string        // the folder that is planned and applied
	service   *pgxpool.Pool // as services have it
	daemonURL string        // as the daemon has it
	roles     outbox.Roles
}

// newWorld makes a world in which nothing is applied.
func newWorld(t *testing.T) *world {
	t.Helper()
	buildRunnel(t)
	db := pgtest.New(t)
	w := &world{
		t: t, db: db, namespace: pulsartest.NamespaceName(t), catalog: filepath.Join(t.TempDir(), "catalog"),
		roles: outbox.Roles{Owner: db.Role("owner"), Writer: db.Role("writer"), Daemon: db.Role("daemon")},
	}
	w.put(oldCatalog)
	if out, code := w.run(db.URL(), "init"); code != 0 {
		t.Fatalf("runnel init: exit code %d\n%s", code, out)
	}
	const password = "of-a-test" // of a role that ends with the test
	db.Exec(t, fmt.Sprintf("alter role %q password '%s'", w.roles.Daemon, password))
	w.daemonURL = db.URLAs(w.roles.Daemon, password)
	service := db.CreateRole(t, "service")
	db.Exec(t, fmt.Sprintf("grant %q to %q; grant create on schema public to %[2]q", w.roles.Writer, db.Role("service")))
	w.service = pgtest.Pool(t, service)
	w.exec(orders.Schema)
	var err error
	if w.client, err = broker.Dial(t.Context(), broker.Config{URL: pulsartest.URL(t), AdminURL: pulsartest.AdminURL(t)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	return w
}

func (w *world) topic() string { return "persistent://" + w.namespace + "/order" }

// versions reads the registry.
func (w *world) versions() []*schemas.TopicSchema {
	w.t.Helper()
	all, err := schemas.NewRegistry(w.client.AdminURL(), w.client.HTTP()).Versions(w.t.Context(), w.topic())
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// unsubscribe deletes a subscription, which nobody is connected to any more.
func (w *world) unsubscribe(name string) {
	w.t.Helper()
	pgtest.Eventually(w.t, patience, func() bool { return w.client.DeleteSubscription(w.t.Context(), w.topic(), name) == nil }, "the subscription %s is deleted", name)
}

// exec runs SQL as a service does.
func (w *world) exec(sql string) {
	w.t.Helper()
	if _, err := w.service.Exec(w.t.Context(), sql); err != nil {
		w.t.Fatal(err)
	}
}

// put makes the catalog a copy of a folder.
func (w *world) put(dir string) {
	w.t.Helper()
	if err := os.RemoveAll(w.catalog); err != nil {
		w.t.Fatal(err)
	}
	if err := os.CopyFS(w.catalog, os.DirFS(dir)); err != nil {
		w.t.Fatal(err)
	}
}

// change is a change of a catalog's file.
type change struct{ file, old, now string }

// edit changes files of the catalog.
func (w *world) edit(changes ...change) {
	w.t.Helper()
	for _, c := range changes {
		name := filepath.Join(w.catalog, c.file)
		text, err := os.ReadFile(name)
		if err == nil {
			text, err = c.of(text)
		}
		if err == nil {
			err = os.WriteFile(name, text, 0o600)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// of makes the change in a file's text.
func (c change) of(text []byte) ([]byte, error) {
	if bytes.Count(text, []byte(c.old)) != 1 {
		return nil, fmt.Errorf("%s does not hold %q once", c.file, c.old)
	}
	return bytes.Replace(text, []byte(c.old), []byte(c.now), 1), nil
}

// say writes the catalog's own file.
func (w *world) say(catalogYAML string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.catalog, "catalog.yaml"), []byte(catalogYAML), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// command is the binary with arguments, for the database at a URL.
func (w *world) command(ctx context.Context, postgres string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "RUNNEL_POSTGRES_URL="+postgres, "RUNNEL_SCHEMAS="+w.catalog,
		"RUNNEL_PULSAR_URL="+pulsartest.URL(w.t), "RUNNEL_PULSAR_ADMIN_URL="+pulsartest.AdminURL(w.t),
		"RUNNEL_TOPICS_NAMESPACE="+w.namespace, "RUNNEL_ROLES_OWNER="+w.roles.Owner, "RUNNEL_ROLES_WRITER="+w.roles.Writer, "RUNNEL_ROLES_DAEMON="+w.roles.Daemon)
	return cmd
}

// run runs a command and returns what it prints, and its exit code.
func (w *world) run(postgres string, args ...string) (string, int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	cmd := w.command(ctx, postgres, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		w.t.Fatalf("runnel %q: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// envelope is what plan and apply print with -o json.
type envelope struct {
	Result struct {
		Hash  string
		Steps []struct {
			Kind, Object string
			Changes      []string
		}
		Findings []struct{ Rule, Severity, Message string }
		Readers  []reader
		Left     int
	}
	Error struct{ Code, Message string }
}

// reader is a subscription as plan shows it.
type reader struct {
	Subscription string
	Connected    int
	Reads        []string
}

// schemas runs plan or apply as the daemon's role, with an exit code that is required.
func (w *world) schemas(code int, args ...string) envelope {
	w.t.Helper()
	cmd := w.command(w.t.Context(), w.daemonURL, append([]string{"schemas", "-o", "json"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var e envelope
	if cmd.ProcessState.ExitCode() != code || json.Unmarshal(out.Bytes(), &e) != nil {
		w.t.Fatalf("runnel schemas %q: %v, want exit code %d\n%s%s", args, err, code, &out, &errs)
	}
	return e
}

// apply plans the catalog and applies it; nothing is left to plan then.
func (w *world) apply() (planned envelope) {
	w.t.Helper()
	planned = w.schemas(0, "plan")
	w.schemas(0, "apply", "--plan", planned.Result.Hash)
	w.nothingLeft()
	return planned
}

func (w *world) nothingLeft() {
	w.t.Helper()
	if left := w.schemas(0, "plan"); left.Result.Hash != "" || len(left.Result.Steps) > 0 {
		w.t.Fatalf("left to do: %+v", left.Result.Steps)
	}
}

// daemon runs a daemon with a catalog, without --auto-apply, until stop is called or the
// test ends, and waits until it streams.
func (w *world) daemon(catalog string) (p *pipeline.Pipeline, stop func()) {
	w.t.Helper()
	p, err := pipeline.New(pipeline.Config{
		Name: w.db.Name(), Postgres: func() (string, error) { return w.daemonURL, nil }, Slot: w.db.Slot("slot"),
		Broker:    broker.Config{URL: pulsartest.URL(w.t), AdminURL: pulsartest.AdminURL(w.t)},
		Namespace: w.namespace, Schemas: catalog, Roles: w.roles, Logger: w.logger(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	stop = w.background("the daemon", p.Run)
	pgtest.Eventually(w.t, patience, func() bool { return p.Status().State == pipeline.Streaming },
		func() string {
			return "the daemon streams; it is " + string(p.Status().State) + ": " + p.Status().Message
		})
	return p, stop
}

// consumer is a projection's configuration, with a database of its own.
func (w *world) consumer() (consumers.Config, *pgtest.DB) {
	w.t.Helper()
	db := pgtest.New(w.t)
	return consumers.Config{
		Database: db.Pool(w.t), Namespace: w.namespace, Logger: w.logger(),
		Broker: consumers.BrokerConfig{URL: pulsartest.URL(w.t), AdminURL: pulsartest.AdminURL(w.t)},
	}, db
}

// background runs f until stop is called or the test ends.
func (w *world) background(what string, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("%s: %v", what, err)
		}
	})
	w.t.Cleanup(stop)
	return stop
}

// committed is how many events were published.
func (w *world) committed() int {
	w.t.Helper()
	return pgtest.Value[int](w.t, w.db, "select count(*)::int from runnel.outbox")
}

// more waits until n more events were published than now.
func (w *world) more(n int) {
	w.t.Helper()
	n += w.committed()
	pgtest.Eventually(w.t, patience, func() bool { return w.committed() >= n }, "%d events are published", n)
}

func (w *world) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{w.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}
