package copytest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/copytest/events"
	"github.com/runnel-cdc/runnel/outbox"
)

// walksName is the projection's name, and the Postgres schema of its table.
const walksName = "walks"

// outside is the projection's world outside: the aggregates that its handler
// refuses, and what it did once for every event, whichever version did it.
const outside = `
create table public.sick (id text primary key);
create table public.effect (id text primary key, n bigint not null)`

var (
	errSick      = errors.New("the handler refuses this walk")
	errOutOfTurn = errors.New("a step is out of turn")
)

// walks keeps the last step of each walk, and refuses a step that does not follow
// it: what is lost, doubled or passed by another becomes a parked event.
func walks(cfg consumers.Config, publishes bool) (*consumers.Projection, error) {
	cfg.Name, cfg.Topics, cfg.BatchSize = walksName, []string{"walk"}, 1000
	cfg.Migrate = func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "create table walk (id text primary key, n bigint not null)")
		return err
	}
	p, err := consumers.New(cfg)
	if err != nil {
		return nil, err
	}
	consumers.HandleBatch(p, func(ctx context.Context, tx pgx.Tx, all []consumers.Message) error {
		steps := make([]events.StepTaken, len(all))
		var ids []string
		last, effects := make(map[string]int64), make(map[string]int64)
		for i := range all {
			if err := all[i].Decode(&steps[i]); err != nil {
				return err
			}
			id := all[i].AggregateID
			if _, known := last[id]; !known {
				last[id] = 0
				ids = append(ids, id)
			}
			if !all[i].CatchingUp {
				effects[id]++
			}
		}
		if err := before(ctx, tx, ids, last); err != nil {
			return err
		}
		for i := range all {
			id := all[i].AggregateID
			if last[id]++; steps[i].N != last[id] {
				return fmt.Errorf("%w: %s, step %d where %d was to come", errOutOfTurn, id, steps[i].N, last[id])
			}
		}
		if err := after(ctx, tx, ids, last, effects); err != nil || !publishes {
			return err
		}
		for i := range all {
			if _, err := outbox.Publish(all[i].Context(ctx), tx, outbox.Event{AggregateID: all[i].AggregateID, Payload: steps[i]}); err != nil {
				return err
			}
		}
		return nil
	})
	return p, nil
}

// before reads the last step of each walk, and refuses those that are sick.
func before(ctx context.Context, tx pgx.Tx, ids []string, last map[string]int64) error {
	var sick bool
	if err := tx.QueryRow(ctx, "select exists (select from public.sick where id = any($1))", ids).Scan(&sick); err != nil {
		return err
	}
	if sick {
		return errSick
	}
	rows, err := tx.Query(ctx, "select id, n from walk where id = any($1)", ids)
	if err != nil {
		return err
	}
	var id string
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&id, &n}, func() error {
		last[id] = n
		return nil
	})
	return err
}

// after writes what has become of the walks, and what was done for them once.
func after(ctx context.Context, tx pgx.Tx, ids []string, last, effects map[string]int64) error {
	n, once := make([]int64, len(ids)), make([]int64, len(ids))
	for i, id := range ids {
		n[i], once[i] = last[id], effects[id]
	}
	if _, err := tx.Exec(ctx, `insert into walk select * from unnest($1::text[], $2::bigint[])
		on conflict (id) do update set n = excluded.n`, ids, n); err != nil || len(effects) == 0 {
		return err
	}
	_, err := tx.Exec(ctx, `insert into public.effect select * from unnest($1::text[], $2::bigint[]) as t (id, n) where n > 0
		on conflict (id) do update set n = effect.n + excluded.n`, ids, once)
	return err
}

// walkers take steps, each of walks of its own.
type walkers struct {
	t     *testing.T
	pool  *pgxpool.Pool
	taken []map[string]int64 // by walker: the steps of its walks that are committed
}

func newWalkers(t *testing.T, s *source, n int) *walkers {
	w := &walkers{t: t, pool: s.db.Pool(t), taken: make([]map[string]int64, n)}
	for i := range w.taken {
		w.taken[i] = make(map[string]int64)
	}
	return w
}

// note makes an event about as large as events are: 200 bytes.
const note = "....................................................................................................." +
	"..................................................................................................."

// steps commits one transaction of n steps, of different walks among 100 n.
func (w *walkers) steps(ctx context.Context, walker, n, round int) error {
	taken := w.taken[walker]
	batch := make([]outbox.Event, n)
	for i := range batch {
		id := walkOf(walker, i, round)
		batch[i] = outbox.Event{AggregateID: id, Payload: events.StepTaken{N: taken[id] + 1, Note: note}}
	}
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		_, err := outbox.Publish(ctx, tx, batch...)
		return err
	})
	if err != nil {
		return err
	}
	for _, e := range batch {
		taken[e.AggregateID]++
	}
	return nil
}

func walkOf(walker, i, round int) string { return fmt.Sprintf("w%d-%d-%d", walker, i, round%100) }

// walk takes n steps a transaction, with a pause in between, until stop is called;
// without a pause it takes total steps and returns by itself.
func (w *walkers) walk(n int, pause time.Duration) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error, len(w.taken))
	for i := range w.taken {
		go func() {
			tick := time.NewTicker(pause)
			defer tick.Stop()
			for round := 0; ; round++ {
				select {
				case <-ctx.Done():
					failed <- nil
					return
				case <-tick.C:
				}
				// A transaction that was begun is ended, so that its outcome is known.
				if err := w.steps(context.WithoutCancel(ctx), i, n, round); err != nil {
					failed <- err
					return
				}
			}
		}()
	}
	return w.joined(cancel, failed)
}

// fill takes total steps as fast as it can.
func (w *walkers) fill(total int) {
	w.t.Helper()
	failed := make(chan error, len(w.taken))
	const atOnce = 1000
	rounds := (total + atOnce*len(w.taken) - 1) / (atOnce * len(w.taken))
	for i := range w.taken {
		go func() {
			for round := range rounds {
				if err := w.steps(w.t.Context(), i, atOnce, round); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	w.joined(func() {}, failed)()
}

// joined returns what ends walkers, once, and waits for them.
func (w *walkers) joined(cancel func(), failed chan error) (stop func()) {
	stopped := false
	stop = func() {
		w.t.Helper()
		if stopped {
			return
		}
		stopped = true
		cancel()
		for range w.taken {
			if err := <-failed; err != nil {
				w.t.Errorf("a walker: %v", err)
			}
		}
	}
	w.t.Cleanup(stop)
	return stop
}

// all returns the steps of every walk. Only when no walker walks.
func (w *walkers) all() map[string]int64 {
	all := make(map[string]int64)
	for _, taken := range w.taken {
		for id, n := range taken {
			all[id] = n
		}
	}
	return all
}
