package pipeline

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/walwatch"
)

// How often the servers are asked, and how many answers in a row may fail
// before the run ends: what is asked for matters little for a while.
const (
	limitsInterval = 2 * time.Second
	lagInterval    = time.Second
	missedAnswers  = 10
	oldestLimit    = time.Second
)

// every calls ask at an interval until ctx ends, or until it has failed too
// often in a row, which is the error then.
func every(ctx context.Context, interval time.Duration, ask func(context.Context) error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failed := 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := ask(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			failed = 0
		default:
			if failed++; failed >= missedAnswers {
				return err
			}
		}
	}
}

// limitsAtOnce is how many topics are asked for each time, in turn.
const limitsAtOnce = 16

// pollLimits tells the loop when a topic that it publishes to accepts other sizes.
func (r *run) pollLimits(ctx context.Context, l *loop) error {
	turn := 0
	return every(ctx, limitsInterval, func(ctx context.Context) error {
		asked := 0
		for n := 0; n < len(r.topics) && asked < limitsAtOnce; n++ {
			i := turn % len(r.topics)
			turn = i + 1
			if !l.used[i].Load() {
				continue
			}
			asked++
			limit, err := r.client.MaxMessageSize(ctx, r.topics[i].full)
			if err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case l.resized <- resize{i, limit}:
			}
		}
		return nil
	})
}

// pollLag measures how much WAL is not confirmed, how much is kept, and how long
// that can go well.
func (r *run) pollLag(ctx context.Context) error {
	var db *pgx.Conn
	hangUp := func() {
		if db != nil {
			_ = db.Close(context.WithoutCancel(ctx)) // the next answer needs a new one anyway
			db = nil
		}
	}
	defer hangUp()
	ask := func(ctx context.Context) (err error) {
		if db == nil {
			if db, err = r.connect(ctx); err != nil {
				db = nil
				return err
			}
		}
		began := time.Now()
		st, err := walwatch.Read(ctx, db, r.cfg.Slot)
		if err != nil {
			hangUp()
			return err
		}
		r.report.retention(st, began, r.log)
		if !r.report.backlogUnknown() {
			return nil
		}
		r.askOldest(ctx, db)
		if db.IsClosed() { // a statement was cut off
			hangUp()
		}
		return nil
	}
	measure := ask
	ask = func(ctx context.Context) error {
		err := measure(ctx)
		if err != nil && ctx.Err() == nil {
			r.report.unmeasured()
		}
		return err
	}
	_ = ask(ctx) // at once, for it is not known; an error comes again
	return every(ctx, lagInterval, ask)
}

// askOldest asks the database what waits. It matters less than what else is measured, which goes on
// when this can't be read: while somebody locks the outbox, say.
func (r *run) askOldest(ctx context.Context, db *pgx.Conn) {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, oldestLimit)
	defer cancel()
	oldest, known, err := capture.ReadOldest(limited, db, r.cfg.Name)
	switch {
	case err != nil && ctx.Err() == nil:
		r.report.oldestUnknown()
	case err == nil && known:
		r.report.oldestUnconfirmed(oldest, began)
	}
}
