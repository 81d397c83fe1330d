package torture

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// workload is the writers. Whether a transaction whose outcome they did not learn
// has committed is told by its truth rows: they need not remember anything.
type workload struct {
	address string
	seed    uint64
	pace    time.Duration // between the transactions of one writer
	report  func(format string, args ...any)

	begun    atomic.Int64 // transactions
	done     atomic.Int64 // that ended, in whatever way
	held     atomic.Bool  // no transaction begins
	unhurt   atomic.Bool  // long and prepared transactions are allowed: the slot is made
	stopping chan struct{}
	writers  sync.WaitGroup

	mu      sync.Mutex
	refused []string // writes that failed for no reason of the run's, a few
}

func newWorkload(address string, seed uint64, pace time.Duration, report func(string, ...any)) *workload {
	return &workload{address: address, seed: seed, pace: pace, report: report, stopping: make(chan struct{})}
}

// start lets n writers go.
func (w *workload) start(ctx context.Context, n int) {
	for i := range n {
		one := &writer{workload: w, name: fmt.Sprintf("w%d", i), rand: rand.New(rand.NewPCG(w.seed, uint64(i)+100))}
		w.writers.Go(func() { one.run(ctx) })
	}
}

// stop lets every writer end its transaction, and resolves what is prepared.
func (w *workload) stop(ctx context.Context) error {
	close(w.stopping)
	w.writers.Wait()
	db, err := pgx.Connect(ctx, w.address)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	rows, err := db.Query(ctx, `select gid from pg_prepared_xacts where database = current_database() order by gid`)
	if err != nil {
		return err
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	for _, gid := range left {
		if err == nil {
			_, err = db.Exec(ctx, "commit prepared '"+gid+"'")
		}
	}
	return err
}

// writer is one of the services that write to the outbox.
type writer struct {
	*workload
	name     string
	rand     *rand.Rand
	db       *pgx.Conn
	count    int        // of its transactions
	prepared []prepared // transactions to be ended later
}

// prepared is a transaction that waits for its second phase.
type prepared struct {
	gid string
	due int64 // when so many transactions were done
}

func (w *writer) run(ctx context.Context) {
	defer func() { w.hangUp(ctx) }()
	tick := time.NewTicker(w.pace)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.stopping:
			return
		case <-tick.C:
		}
		if w.held.Load() {
			continue
		}
		if err := w.once(ctx); err != nil && ctx.Err() == nil {
			if !w.expected(err) {
				w.refuse(fmt.Sprintf("writer %s, transaction %d: %v", w.name, w.count, err))
			}
			w.hangUp(ctx)
		}
	}
}

// expected reports whether an error is part of the run: a server that is down or
// shuts down (57), a connection that broke or was given up, a deadlock, a full disk.
func (w *writer) expected(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return strings.HasPrefix(pg.Code, "57") || strings.HasPrefix(pg.Code, "40") || strings.Contains(pg.Message, fileTooLarge)
	}
	return w.db == nil || w.db.IsClosed()
}

// fileTooLarge is what a write says beyond the limit that stands for a full disk.
const fileTooLarge = "File too large"

// refuse notes a write that failed though nothing was in its way.
func (w *workload) refuse(text string) {
	w.report("%s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.refused) < told {
		w.refused = append(w.refused, text)
	}
}

func (w *workload) refusedWrites() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.refused)
}

func (w *writer) hangUp(ctx context.Context) {
	if w.db != nil {
		_ = w.db.Close(context.WithoutCancel(ctx)) // it may be gone already
		w.db = nil
	}
}

// once makes one transaction, and ends prepared ones that are due.
func (w *writer) once(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if w.db == nil {
		if w.db, err = pgx.Connect(ctx, w.address); err != nil {
			return err
		}
	}
	w.count++
	w.begun.Add(1)
	defer w.done.Add(1)
	for len(w.prepared) > 0 && w.prepared[0].due <= w.done.Load() {
		p := w.prepared[0]
		w.prepared = w.prepared[1:]
		second := "commit"
		if w.rand.IntN(4) == 0 {
			second = "rollback"
		}
		if _, err := w.db.Exec(ctx, second+" prepared '"+p.gid+"'"); err != nil {
			return err // stop resolves it
		}
	}
	kind := w.draw()
	return kind.make(w, ctx, fmt.Sprintf("%s-%d-%s", w.name, w.count, kind.name))
}

// kind is a way to write.
type kind struct {
	name   string
	weight int
	slow   bool // holds a transaction open: not before the slot is made, which waits for it
	make   func(*writer, context.Context, string) error
}

// kindRollback is the one that never commits.
const kindRollback = "rollback"

// kinds are all of them. The weights are drawn against each other.
func kinds() []kind {
	return []kind{
		{"rows", 30, false, (*writer).rows},
		{"publish", 10, false, (*writer).publish},
		{"multi", 15, false, (*writer).multi},
		{"copy", 10, false, (*writer).copy},
		{kindRollback, 10, false, (*writer).rollback},
		{"savepoint", 12, false, (*writer).savepoint},
		{"huge", 1, false, (*writer).huge},
		{"long", 3, true, (*writer).long},
		{"prepared", 4, true, (*writer).prepare},
	}
}

func (w *writer) draw() kind {
	all, total := kinds(), 0
	for _, k := range all {
		total += k.weight
	}
	n := w.rand.IntN(total)
	for _, k := range all {
		if n -= k.weight; n < 0 {
			if k.slow && !w.unhurt.Load() {
				break
			}
			return k
		}
	}
	return all[0]
}
