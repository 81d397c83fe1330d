package consumers_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("RUNNEL_POSTGRES_URL") == "" && os.Getenv("RUNNEL_TEST_SERVERS") != "required" {
		_ = flag.Set("test.skip", "^Example($|HandleBatch|Positions|Observer|Projection_|RetryParked|WaitFor)") // an Example can't skip itself
	}
	goleak.VerifyTestMain(m)
}

// patience bounds the waiting for something that should happen soon.
const patience = 20 * time.Second

// world is a broker, a database, and what an observer saw.
type world struct {
	*scripted
	db  *pgtest.DB
	saw struct {
		applied, skipped, unknown, discarded, failed, parked, behind, stopped atomic.Int64
	}
	pauses  pauses
	writing sync.Mutex // a message is made and appended
}

// pauses stands in for sleeping: it records, and returns at once, unless the
// test holds it.
type pauses struct {
	mu   sync.Mutex
	all  []time.Duration
	hold chan struct{} // nil: do not hold
}

func (p *pauses) sleep(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	p.all = append(p.all, d)
	hold := p.hold
	p.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

func (p *pauses) seen() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]time.Duration(nil), p.all...)
}

func newWorld(t *testing.T, partitions int) *world {
	t.Helper()
	w := &world{scripted: newScripted(map[string]int{orders: partitions}), db: pgtest.New(t)}
	w.register(t, orders, placedV2, shipped)
	return w
}

// config is a projection's that folds orders.
func (w *world) config(t *testing.T) consumers.Config {
	cfg := consumers.Config{
		Name:     "fulfilment",
		Database: w.db.Pool(t),
		Migrate:  makeFold,
		Logger:   slog.New(slog.NewTextHandler(t.Output(), nil)),
		Observer: consumers.Observer{
			Applied:     func(consumers.Applied) { w.saw.applied.Add(1) },
			Skipped:     func(consumers.Message) { w.saw.skipped.Add(1) },
			UnknownType: func(consumers.Message) { w.saw.unknown.Add(1) },
			Discarded:   func(consumers.Message, error) { w.saw.discarded.Add(1) },
			Failed:      func(consumers.Message, int, time.Duration, error) { w.saw.failed.Add(1) },
			Parked:      func(consumers.Message, error) { w.saw.parked.Add(1) },
			Behind:      func(consumers.Message) { w.saw.behind.Add(1) },
			Stopped:     func(string, int, error) { w.saw.stopped.Add(1) },
		},
	}
	cfg.Broker.SetBroker(w, w)
	return cfg
}

// makeFold makes the table of a fold that shows every loss, repeat and swap.
func makeFold(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `create table fold (id text primary key, h text not null, applied int not null)`)
	return err
}

// fold is a handler: h = H(h || event), and a counter.
func fold(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
	_, err := tx.Exec(ctx, `insert into fold values ($1, encode(sha256(convert_to($2, 'UTF8')), 'hex'), 1)
		on conflict (id) do update set h = encode(sha256(convert_to(fold.h || $2, 'UTF8')), 'hex'), applied = fold.applied + 1`,
		e.AggregateID, text(e.Payload))
	return err
}

func text(e OrderPlaced) string { return fmt.Sprintf("|%d %s %d", e.N, e.Note, e.Amount) }

// truth folds the same way in memory.
type truth map[string]folded

type folded struct {
	H       string
	Applied int
}

func (f truth) add(id string, e OrderPlaced) {
	was := f[id]
	sum := sha256.Sum256([]byte(was.H + text(e)))
	f[id] = folded{hex.EncodeToString(sum[:]), was.Applied + 1}
}

// requireCopy compares the local copy with the truth, row by row.
func (w *world) requireCopy(t *testing.T, want truth) {
	t.Helper()
	conn := w.db.Conn(t)
	rows, _ := conn.Query(t.Context(), "select id, h, applied from fulfilment.fold")
	got := make(truth)
	var id string
	var row folded
	if _, err := pgx.ForEachRow(rows, []any{&id, &row.H, &row.Applied}, func() error { got[id] = row; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("%d aggregates in the copy, want %d", len(got), len(want))
	}
	for id, w := range want {
		if got[id] != w {
			t.Errorf("aggregate %s: applied %d with %.8s, want %d with %.8s", id, got[id].Applied, got[id].H, w.Applied, w.H)
		}
	}
}

// fill publishes n orders of some aggregates over all partitions. N counts all
// that was published, from 0.
func (w *world) fill(t *testing.T, n int, want truth) {
	t.Helper()
	count := w.scripted.partitions[orders]
	w.mu.Lock()
	var before int
	for _, log := range w.logs {
		before += events(log)
	}
	w.mu.Unlock()
	for i := range n {
		at := i % count
		key := fmt.Sprintf("o%d-%d", at, i%7)
		e := OrderPlaced{N: int64(before + i), Note: fmt.Sprintf("note %d", i), Amount: int64(i) * 3}
		w.publish(t, broker.Partition{Topic: orders, Index: at}, key, e)
		want.add(key, e)
	}
}

// positions returns the stored ordinals by partition.
func (w *world) positions(t *testing.T) map[int]uint64 {
	t.Helper()
	all, err := consumers.Positions(t.Context(), w.db.Conn(t), "fulfilment")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[int]uint64)
	for _, p := range all {
		got[p.Partition] = p.Ordinal
	}
	return got
}

// running is a projection's Run in the background.
type running struct {
	*consumers.Projection
	cancel context.CancelFunc
	done   chan error
}

// start makes a projection and runs it until the test ends or stop.
func start(t *testing.T, cfg consumers.Config, register func(*consumers.Projection)) *running {
	t.Helper()
	p, err := consumers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	register(p)
	return startProjection(t, p)
}

func startProjection(t *testing.T, p *consumers.Projection) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{p, cancel, make(chan error, 1)}
	go func() { r.done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-r.done:
			t.Logf("Run ended: %v", err)
		case <-time.After(patience):
			t.Error("Run did not stop")
		}
	})
	return r
}

// stop ends Run, which must end well.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if err := r.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// wait waits for Run to end by itself.
func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- err // for the cleanup
		return err
	case <-time.After(patience):
		t.Fatal("Run did not end")
		return nil
	}
}

func handleFold(p *consumers.Projection) { consumers.Handle(p, fold) }

// appliedAll waits until all partitions stand at the end of their logs.
func (w *world) appliedAll(t *testing.T) {
	t.Helper()
	conn := w.db.Conn(t)
	pgtest.Eventually(t, patience, func() bool {
		all, err := consumers.Positions(t.Context(), conn, "fulfilment")
		if err != nil {
			return false
		}
		at := make(map[int]int)
		for _, p := range all {
			at[p.Partition] = int(p.Ordinal)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for of, log := range w.logs {
			if at[of.Index] != events(log) {
				return false
			}
		}
		return true
	}, "the copy stands at the end of the topics: %v", func() string { return fmt.Sprint(w.positions(t)) })
}

// unparked waits until nothing is parked, and all partitions stand at the end.
func (w *world) unparked(t *testing.T) {
	t.Helper()
	w.appliedAll(t)
	conn := w.db.Conn(t)
	var rows, counted int
	pgtest.Eventually(t, patience, func() bool {
		err := conn.QueryRow(t.Context(), `select (select count(*) from runnel_projections.parked),
			(select coalesce(sum(parked), 0) from runnel_projections.position)`).Scan(&rows, &counted)
		return err == nil && rows == 0 && counted == 0
	}, "nothing is parked: %v", func() string { return fmt.Sprintf("%d rows, %d counted", rows, counted) })
}

// parked returns what is parked, in the order of the topic.
func (w *world) parked(t *testing.T) []consumers.ParkedEvent {
	t.Helper()
	all, err := consumers.Parked(t.Context(), w.db.Conn(t), "fulfilment", consumers.ParkedFilter{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// soon is a schedule for tests.
var soon = consumers.Retry{Immediate: 2, Delays: []time.Duration{time.Millisecond, 20 * time.Millisecond}}

var errHandler = errors.New("the handler refuses")

func poolWith(t *testing.T, url string, change func(*pgxpool.Config)) *pgxpool.Pool {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	change(cfg)
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}
