package torture

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// view is the daemon's slot and the server's WAL at a moment.
type view struct {
	Sample
	WAL uint64 // insert position
}

const viewQuery = `select (confirmed_flush_lsn - '0/0'::pg_lsn)::bigint, (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint, coalesce(active_pid, 0)
	from pg_replication_slots where slot_name = '` + slotName + `' and confirmed_flush_lsn is not null`

func readView(ctx context.Context, db *pgx.Conn) (v view, err error) {
	err = db.QueryRow(ctx, viewQuery).Scan(&v.Confirmed, &v.WAL, &v.PID)
	v.At = now()
	return v, err
}

// look reads the slot; the server may just be starting.
func (r *runner) look(ctx context.Context) (v view, err error) {
	waited := await(ctx, r.o.Patience, func(ctx context.Context) bool {
		var db *pgx.Conn
		if db, err = pgx.Connect(ctx, r.source); err != nil {
			return false
		}
		defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
		v, err = readView(ctx, db)
		return err == nil
	})
	if waited != nil {
		return v, errors.Join(waited, err)
	}
	return v, nil
}

// endWalsender ends the daemon's replication session, once there is one. A daemon
// that a failpoint has killed meanwhile has none.
func (r *runner) endWalsender(ctx context.Context) error {
	return await(ctx, r.o.Patience, func(ctx context.Context) bool {
		if !r.daemon.Alive() {
			return true
		}
		ended, err := value[bool](ctx, r.source, `select coalesce((select pg_terminate_backend(active_pid)
			from pg_replication_slots where slot_name = $1 and active_pid is not null), false)`, slotName)
		return err == nil && ended
	})
}

// snapshotDone waits until the rows from before the slot are confirmed.
func (r *runner) snapshotDone(ctx context.Context) error {
	return await(ctx, r.o.Patience, func(ctx context.Context) bool {
		done, err := value[bool](ctx, r.source, `select coalesce((select snapshot_done from runnel.pipeline where name = $1), false)`, pipelineName)
		return err == nil && done
	})
}

// sampler watches the slot all the time.
type sampler struct {
	address string
	mu      sync.Mutex
	all     []Sample
}

// sampleEvery is how often the slot is looked at.
const sampleEvery = 50 * time.Millisecond

func newSampler(address string) *sampler { return &sampler{address: address} }

// start begins to watch; the returned function ends it and waits.
func (s *sampler) start(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.watch(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (s *sampler) watch(ctx context.Context) {
	var db *pgx.Conn
	hangUp := func() {
		if db != nil {
			_ = db.Close(context.WithoutCancel(ctx)) // it may be gone already
			db = nil
		}
	}
	defer hangUp()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	var last Sample
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if db == nil {
			var err error
			if db, err = pgx.Connect(ctx, s.address); err != nil {
				db = nil
				continue // the server is down
			}
		}
		v, err := readView(ctx, db)
		switch {
		case errors.Is(err, pgx.ErrNoRows): // no slot yet
		case err != nil:
			hangUp()
		case v.Confirmed != last.Confirmed || v.PID != last.PID:
			last = v.Sample
			s.mu.Lock()
			s.all = append(s.all, v.Sample)
			s.mu.Unlock()
		}
	}
}

func (s *sampler) samples() []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Sample(nil), s.all...)
}
