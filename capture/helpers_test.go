package capture

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/testserver"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(testserver.Postgres) == "" && os.Getenv(testserver.Servers) != "required" {
		_ = flag.Set("test.skip", "^Example$|^ExampleReadSlot$|^ExampleProgress$") // an Example can't skip itself
	}
	spoils = true // what is read after its release shows
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of the tests.
const patience = 30 * time.Second

// fixture is a database with an outbox, and what captures it: the role of the
// daemon, without superuser.
type fixture struct {
	*pgtest.DB
	config Config
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	return newFixtureIn(t, pgtest.New(t))
}

func newFixtureIn(t testing.TB, db *pgtest.DB) *fixture {
	t.Helper()
	u := db.CreateRole(t, "daemon", "replication")
	roles := outbox.Roles{Owner: db.Role("owner"), Writer: db.Role("writer"), Daemon: db.Role("daemon")}
	if _, err := outbox.Init(t.Context(), db.Conn(t), outbox.InitOptions{Roles: roles}); err != nil {
		t.Fatal(err)
	}
	return &fixture{DB: db, config: Config{URL: u, Pipeline: "p", Slot: db.Slot("s"), StatusInterval: 50 * time.Millisecond}}
}

func (f *fixture) open(t testing.TB) *Source {
	t.Helper()
	// Making a slot waits for every transaction of the cluster, other tests' too.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := Open(ctx, f.config)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// insertSQL inserts rows n = $1 .. $2 for key $3; the payload tells them apart.
const insertSQL = `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
	select 'order', $3::text, 'OrderPlaced', 2, convert_to('{"n": ' || n || '}', 'UTF8') from generate_series($1::int, $2::int) n`

func (f *fixture) insert(t testing.TB, from, to int, key string) {
	t.Helper()
	f.Exec(t, insertSQL, from, to, key)
}

// row is what a test looks at of an event.
type row struct {
	at      position.Position
	id      [16]byte
	seq     int64
	key     string
	payload string
}

// running is a Source whose Run is under way, and what came of it.
type running struct {
	*Source
	t      testing.TB
	cancel context.CancelFunc
	out    chan *router.Batch
	ended  chan struct{}
	err    error

	mu      sync.Mutex
	rows    []row
	inputs  int
	commits []uint64 // ends
	walEnd  uint64
	open    bool // a transaction
	auto    bool // confirm commits and WAL ends
}

// follow starts Run and a consumer that confirms what it received.
func follow(t testing.TB, s *Source) *running {
	t.Helper()
	r := start(t, s)
	r.auto = true
	go func() {
		defer close(r.ended)
		r.consume()
	}()
	return r
}

// start starts Run without a consumer.
func start(t testing.TB, s *Source) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Source: s, t: t, cancel: cancel, out: make(chan *router.Batch, 4), ended: make(chan struct{})}
	go func() {
		r.err = s.Run(ctx, r.out)
		close(r.out)
	}()
	t.Cleanup(func() { cancel(); r.awaitEnd() })
	return r
}

func (r *running) consume() {
	for b := range r.out {
		r.mu.Lock()
		for i := range b.Inputs {
			if err := r.step(&b.Inputs[i]); err != nil {
				r.t.Error(err)
			}
		}
		r.mu.Unlock()
		b.Release()
	}
}

func (r *running) step(in *router.Input) error {
	r.inputs++
	switch {
	case in.Kind == router.Begin && !r.open:
		r.open = true
	case in.Kind == router.Row && r.open:
		e := &in.Event
		r.rows = append(r.rows, row{e.Position, e.ID, e.Seq, string(e.AggregateID), string(e.Payload)})
	case in.Kind == router.Commit && r.open:
		r.open = false
		r.commits = append(r.commits, in.LSN)
		if r.auto {
			r.Confirm(in.LSN)
		}
	case in.Kind == router.WALEnd && !r.open:
		r.walEnd = max(r.walEnd, in.LSN)
		if r.auto {
			r.Confirm(in.LSN)
		}
	default:
		return fmt.Errorf("input %d out of place (transaction open: %v)", in.Kind, r.open)
	}
	return nil
}

func (r *running) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.rows)
}

func (r *running) received() []row {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]row(nil), r.rows...)
}

// await waits until n rows came.
func (r *running) await(n int) []row {
	r.t.Helper()
	pgtest.Eventually(r.t, patience, func() bool {
		select {
		case <-r.ended:
			return true
		default:
			return r.count() >= n
		}
	}, "%d rows, have %s", n, func() string { return fmt.Sprint(r.count()) })
	if got := r.count(); got < n {
		r.t.Fatalf("Run ended with %d of %d rows: %v", got, n, r.err)
	}
	return r.received()
}

// stop ends Run as a shutdown does and returns its error.
func (r *running) stop() error {
	r.cancel()
	return r.wait()
}

func (r *running) wait() error {
	r.t.Helper()
	r.awaitEnd()
	r.Close()
	return r.err
}

// awaitEnd shows, if Run does not end, where it is.
func (r *running) awaitEnd() {
	r.t.Helper()
	select {
	case <-r.ended:
	case <-time.After(patience):
		stacks := make([]byte, 1<<20)
		r.t.Fatalf("Run did not end:\n%s", stacks[:runtime.Stack(stacks, true)])
	}
}

// awaitFree waits until no process holds the slot.
func (f *fixture) awaitFree(t testing.TB) {
	t.Helper()
	pgtest.Eventually(t, patience, func() bool {
		return pgtest.Value[bool](t, f.DB, "select not active from pg_replication_slots where slot_name = $1", f.config.Slot)
	}, "the slot is still in use")
}

// confirmedFlush is where the slot stands.
func (f *fixture) confirmedFlush(t testing.TB) uint64 {
	t.Helper()
	lsn, err := parseLSN(pgtest.Value[string](t, f.DB,
		"select confirmed_flush_lsn::text from pg_replication_slots where slot_name = $1", f.config.Slot))
	if err != nil {
		t.Fatal(err)
	}
	return lsn
}

func (r *running) mustStop() {
	r.t.Helper()
	if err := r.stop(); err != nil {
		r.t.Fatalf("Run: %v", err)
	}
}

func (f *fixture) ids(t testing.TB, order string) [][16]byte {
	t.Helper()
	return pgtest.Values[[16]byte](t, f.DB, "select id from runnel.outbox order by "+order)
}

func payloads(rows []row) string {
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(strings.NewReplacer(`{"n": `, "", "}", " ").Replace(r.payload))
	}
	return strings.TrimSpace(b.String())
}

// checkPositions: strictly rising, dense within a transaction.
func checkPositions(t testing.TB, rows []row) {
	t.Helper()
	for i, r := range rows {
		if i == 0 {
			continue
		}
		prev := rows[i-1].at
		if !prev.Less(r.at) {
			t.Fatalf("row %d: position %s does not follow %s", i, r.at, prev)
		}
		if r.at.LSN == prev.LSN && r.at.Index != prev.Index+1 || r.at.LSN != prev.LSN && r.at.Index != 0 {
			t.Fatalf("row %d: index of %s after %s", i, r.at, prev)
		}
	}
}

// checkSet: exactly the rows of the table, each once.
func checkSet(t testing.TB, f *fixture, rows []row) {
	t.Helper()
	seen := make(map[[16]byte]int)
	for _, r := range rows {
		seen[r.id]++
	}
	want := f.ids(t, "seq")
	for _, id := range want {
		if seen[id] != 1 {
			t.Fatalf("event %x came %d times", id, seen[id])
		}
	}
	if len(rows) != len(want) {
		t.Fatalf("%d rows came, the table has %d", len(rows), len(want))
	}
}

func mustCode(t testing.TB, err error, code error) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("got %v, want %v", err, code)
	}
}

func withUser(t testing.TB, raw, user, password string) string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

// lines is a log that a test can read.
type lines struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// unchecked takes the checks off the outbox, where a test is about many rows.
func (f *fixture) unchecked(t testing.TB) {
	t.Helper()
	f.Exec(t, `do $$ declare c text; begin
		for c in select conname from pg_constraint where conrelid = 'runnel.outbox'::regclass and contype = 'c' loop
			execute format('alter table runnel.outbox drop constraint %I', c);
		end loop; end $$;
		alter table runnel.outbox disable trigger all`)
}

// era is a history of one epoch.
func era(epoch uint32) lineage { return lineage{{Epoch: epoch}} }
