package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/internal/tail"
)

// live runs commands in this process against real servers, with a database,
// roles and a namespace of the test's own.
type live struct {
	t       *testing.T
	environ []string
}

func newLive(t *testing.T, db *pgtest.DB) *live {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("schemas", 0o700); err != nil {
		t.Fatal(err)
	}
	placed := `{"type": "record", "name": "Placed", "aggregate": "order", "fields": [{"name": "n", "type": "int"}]}`
	if err := os.WriteFile(filepath.Join("schemas", "placed.avsc"), []byte(placed), 0o600); err != nil {
		t.Fatal(err)
	}
	return &live{t, []string{
		"LANG=C.UTF-8", "RUNNEL_SCHEMAS=schemas", "RUNNEL_POSTGRES_URL=" + db.URL(),
		"RUNNEL_PULSAR_URL=" + pulsartest.URL(t), "RUNNEL_PULSAR_ADMIN_URL=" + pulsartest.AdminURL(t),
		"RUNNEL_TOPICS_NAMESPACE=" + pulsartest.NamespaceName(t), "RUNNEL_HTTP=127.0.0.1:0",
		"RUNNEL_ROLES_OWNER=" + db.Role("owner"), "RUNNEL_ROLES_WRITER=" + db.Role("writer"), "RUNNEL_ROLES_DAEMON=" + db.Role("daemon"),
	}}
}

func (l *live) run(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	a := &app{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, environ: l.environ, deps: realDeps()}
	return a.main(ctx, args), out.String(), errs.String()
}

// must requires exit code 0 and returns standard output.
func (l *live) must(args ...string) string {
	l.t.Helper()
	code, stdout, stderr := l.run(l.t.Context(), args...)
	if code != 0 {
		l.t.Fatalf("%q: exit code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout
}

// result decodes the result of a command's envelope into v.
func (l *live) result(v any, args ...string) {
	l.t.Helper()
	e := envelope{Result: v}
	if err := json.Unmarshal([]byte(l.must(append(args, "-o", "json")...)), &e); err != nil || !e.OK {
		l.t.Fatalf("%q: %v", args, err)
	}
}

// startDaemon runs a daemon until the test ends, or until stop, which does as a
// signal would and returns its exit code.
func (l *live) startDaemon() (stop func() int) {
	ctx, cancel := context.WithCancelCause(l.t.Context())
	exited := make(chan int, 1)
	go func() {
		code, _, stderr := l.run(ctx, "run", "--auto-apply")
		l.t.Log(stderr)
		exited <- code
	}()
	stop = sync.OnceValue(func() int {
		cancel(interrupted{15})
		return <-exited
	})
	l.t.Cleanup(func() { stop() })
	return stop
}

// startProjection runs a projection of the topic order until the test ends, or
// until stop.
func (l *live) startProjection(db *pgtest.DB, cfg consumers.Config, h func(context.Context, pgx.Tx, []consumers.Message) error) (stop func() error) {
	l.t.Helper()
	for _, v := range l.environ {
		if name, ok := strings.CutPrefix(v, "RUNNEL_TOPICS_NAMESPACE="); ok {
			cfg.Namespace = name
		}
	}
	cfg.Database, cfg.Topics = db.Pool(l.t), []string{"order"}
	cfg.Broker = consumers.BrokerConfig{URL: pulsartest.URL(l.t), AdminURL: pulsartest.AdminURL(l.t)}
	cfg.Retry = consumers.Retry{Immediate: 1, Delays: []time.Duration{time.Millisecond}}
	p, err := consumers.New(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	consumers.HandleBatch(p, h)
	ctx, cancel := context.WithCancel(l.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	pgtest.Eventually(l.t, time.Minute, func() bool {
		return pgtest.Value[bool](l.t, db, "select to_regclass('runnel_projections.projection') is not null")
	}, "the projection to have its tables")
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	l.t.Cleanup(func() { _ = stop() })
	return stop
}

// freeAddress returns one at which nothing listens.
func freeAddress(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// From an empty database to events read back, by commands alone.
func TestTheWholeWay(t *testing.T) {
	db := pgtest.New(t)
	l := newLive(t, db)
	l.environ = append(l.environ, "RUNNEL_HTTP="+freeAddress(t))

	var done initResult
	l.result(&done, "init", "--dry-run")
	if !done.Changed {
		t.Errorf("a dry run on an empty database: %+v", done)
	}
	l.result(&done, "init")
	if !done.Changed || len(done.Steps) != 5 {
		t.Errorf("init: %+v", done)
	}
	l.result(&done, "init")
	if done.Changed {
		t.Errorf("init again: %+v", done)
	}

	if text := l.must("doctor", "--check", "daemon"); !strings.Contains(text, "nothing listens at http://127.0.0.1:") {
		t.Errorf("doctor before the first start:\n%s", text)
	}
	stop := l.startDaemon()
	db.Exec(t, "select runnel.publish('order', n::text, 'Placed', jsonb_build_object('n', n)) from generate_series(1, 50) n")
	pgtest.Eventually(t, time.Minute, func() bool {
		return pgtest.Value[int64](t, db, "select coalesce(sum(ordinal), 0)::bigint from runnel.progress_partition where exists (select from runnel.progress)") == 50
	}, "50 events to be confirmed")

	var status statusResult
	l.result(&status, "status")
	if !status.Slot.Active || !status.Slot.Recorded || len(status.Partitions) != 4 || status.Progress == nil ||
		status.Warnings == nil || len(status.Warnings) > 0 || status.Slot.LimitBytes == nil || *status.Slot.SafeBytes <= 0 {
		t.Errorf("status: %+v", status)
	}
	if text := l.must("status"); !strings.Contains(text, "streamed by process") || !strings.Contains(text, "\nwaiting    nothing\n") {
		t.Errorf("status:\n%s", text)
	}

	lines := strings.Split(strings.TrimSpace(l.must("tail", "--from", "earliest", "-o", "json")), "\n")
	if len(lines) != 50 {
		t.Fatalf("%d lines of tail", len(lines))
	}
	var events []tail.Event
	for i, line := range lines {
		var e tail.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if want := `{"n":` + e.Key + `}`; string(e.Event) != want || i > 0 && e.Position <= events[i-1].Position {
			t.Errorf("line %d: %s", i, line)
		}
		events = append(events, e)
	}
	last := map[int]string{} // positions are everywhere the same
	for _, e := range events {
		last[e.Partition] = e.Position
		if stamp, err := position.ParseStamp(e.Position); err != nil || stamp.Ordinal != e.Ordinal {
			t.Errorf("position %s, ordinal %d: %v", e.Position, e.Ordinal, err)
		}
	}
	for _, p := range status.Partitions {
		if p.Position != last[p.Partition] {
			t.Errorf("status: %+v, tail: %s", p, last[p.Partition])
		}
	}
	for _, p := range status.Daemon.Status.Topics[0].Partitions {
		if p.Position != last[p.Partition] {
			t.Errorf("the daemon's status: %+v, tail: %s", p, last[p.Partition])
		}
	}
	for args, want := range map[string]int{
		"tail -o json":                                10,
		"tail -o json -n 3":                           3,
		"tail -o json -n 3 --key 1":                   1,
		"tail -o json -n 60 --topic order":            50,
		"tail -o json --from " + events[40].Position:  10,
		"tail -o json -n 5 --type Pla*":               5,
		"tail -o json --from earliest --type Nothing": 0,
	} {
		if n := strings.Count(l.must(strings.Fields(args)...), "\n"); n != want {
			t.Errorf("%s: %d lines, want %d", args, n, want)
		}
	}
	if text := l.must("tail", "-n", "1"); !strings.Contains(text, "Placed 50 {\"n\":50}") {
		t.Errorf("tail: %s", text)
	}
	if code, _, stderr := l.run(t.Context(), "tail", "--topic", "ordre", "-o", "json"); code != 3 || !strings.Contains(stderr, `"TOPIC_MISSING"`) ||
		!strings.Contains(stderr, `"Did you mean order? The topics there are: order."`) {
		t.Errorf("tail of no topic: %d, %s", code, stderr)
	}
	if text := l.must("doctor"); !strings.Contains(text, "version devel, up for ") || !strings.Contains(text, "Pulsar 4.") {
		t.Errorf("doctor:\n%s", text)
	}

	// Once a daemon publishes, types are admitted by what registers their schemas first.
	l.write("later.avsc", `{"type": "record", "name": "Later", "aggregate": "order", "fields": []}`)
	l.result(&done, "init")
	if last := done.Steps[len(done.Steps)-1]; done.Changed || last.Name != "event types" || !strings.Contains(last.Detail, "left to `runnel schemas apply`") ||
		pgtest.Value[bool](t, db, "select exists (select from runnel.event_type where name = 'Later')") {
		t.Errorf("init with a newer catalog: %+v", done)
	}

	if code := stop(); code != 0 {
		t.Errorf("the daemon, stopped by a signal, exited with %d", code)
	}
}

// Without rights nothing is changed, and the script for an administrator comes
// with exit code 3.
func TestInitNeedsAdministrator(t *testing.T) {
	db := pgtest.New(t)
	l := newLive(t, db)
	plain := db.CreateRole(t, "plain")
	code, stdout, stderr := l.run(t.Context(), "init", "--postgres", plain)
	if code != 3 || !strings.Contains(stdout, "create table runnel.outbox") || !strings.Contains(stderr, "\nNEEDS_ADMIN") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	db.Exec(t, stdout) // it is what it says
	var done initResult
	l.result(&done, "init", "--schemas", "schemas")
	if len(done.Steps) != 5 || done.Steps[0].Changed || done.Steps[1].Changed {
		t.Errorf("%+v", done)
	}
}
