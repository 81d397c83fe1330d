package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// Housekeeper makes partitions ahead of time, turns a filled default partition
// into a proper one, and drops what is old and confirmed. Any number may run
// against one database: an advisory lock lets one work at a time.
//
// It only calls functions of the schema that run as the owner, so the daemon's
// role suffices.
type Housekeeper struct {
	// Connect opens the connection for one run; required. It must lead to the
	// server itself or through a pooler in session mode (advisory lock).
	Connect func(context.Context) (*pgx.Conn, error)
	// Retention: partitions whose newest possible row is older, and that every
	// pipeline has confirmed, are dropped. Zero or less keeps them for ever.
	Retention time.Duration
	// Interval between runs; the first is at once. Default 1 hour.
	Interval time.Duration
	// DaysAhead is how many daily partitions exist beside today's. Default 30.
	DaysAhead int
	// OnRun, if set, is told of every run, one at a time.
	OnRun func(Housekeeping, error)
	// Logger: what was done at info, a failed run at warn. Default: discarded.
	Logger *slog.Logger
}

// Housekeeping is what one run did.
type Housekeeping struct {
	Elsewhere bool     // another housekeeper held the lock: nothing was done
	Adopted   string   // the partition that the default partition became, or ""
	Created   int      // partitions made
	Dropped   []string // partitions dropped, oldest first
}

const (
	defaultInterval  = time.Hour
	defaultDaysAhead = 30
	runTimeout       = 10 * time.Minute // a run on a connection that hangs ends
	lockAttempts     = 5
	lockPause        = time.Second // doubled after each attempt
)

// Run keeps house until ctx ends, and returns nil then. A failed run is
// reported to OnRun and Logger, and tried again after Interval.
func (h *Housekeeper) Run(ctx context.Context) error {
	if h.Connect == nil {
		return errors.New("housekeeper: Connect is required")
	}
	interval := h.Interval
	if interval <= 0 {
		interval = defaultInterval
	}
	scheduler, err := gocron.NewScheduler(gocron.WithStopTimeout(runTimeout))
	if err != nil {
		return fmt.Errorf("housekeeper: %w", err)
	}
	_, err = scheduler.NewJob(gocron.DurationJob(interval), gocron.NewTask(h.tick),
		gocron.WithContext(ctx), gocron.WithSingletonMode(gocron.LimitModeReschedule),
		gocron.WithStartAt(gocron.WithStartImmediately()))
	if err != nil {
		return errors.Join(fmt.Errorf("housekeeper: %w", err), scheduler.Shutdown())
	}
	scheduler.Start()
	<-ctx.Done()
	if err := scheduler.Shutdown(); err != nil { // waits for a run, whose context has ended too
		return fmt.Errorf("housekeeper: %w", err)
	}
	return nil
}

func (h *Housekeeper) tick(ctx context.Context) {
	done, err := h.RunOnce(ctx)
	if ctx.Err() != nil {
		return // stopping; what it interrupted is no news
	}
	if h.OnRun != nil {
		h.OnRun(done, err)
	}
	if h.Logger == nil {
		return
	}
	if err != nil {
		h.Logger.WarnContext(ctx, "housekeeping failed", "error", err)
	}
	if done.Adopted != "" || done.Created > 0 || len(done.Dropped) > 0 {
		h.Logger.InfoContext(ctx, "housekeeping", "adopted", done.Adopted, "created", done.Created, "dropped", done.Dropped)
	}
}

// RunOnce does one run: adopt, make, drop. A step that fails does not keep the
// later ones from being tried; the errors are joined.
//
// Errors: ErrStraddle, ErrNotMigrated, ErrForbidden, and what the database or
// Connect returns.
func (h *Housekeeper) RunOnce(ctx context.Context) (done Housekeeping, err error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	conn, err := h.Connect(ctx)
	if err != nil {
		return done, fmt.Errorf("housekeeping: connect: %w", err)
	}
	defer func() { // which also gives up the advisory lock
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}()
	var mine bool
	if err := conn.QueryRow(ctx, "select pg_catalog.pg_try_advisory_lock(1381322316, 3)").Scan(&mine); err != nil {
		return done, fmt.Errorf("housekeeping: advisory lock: %w", err)
	}
	if !mine {
		return Housekeeping{Elsewhere: true}, nil
	}
	err = errors.Join(h.adopt(ctx, conn, &done), h.create(ctx, conn, &done), h.drop(ctx, conn, &done))
	return done, err
}

func (h *Housekeeper) adopt(ctx context.Context, conn *pgx.Conn, done *Housekeeping) error {
	var name *string
	err := retryLocked(ctx, func() error {
		return conn.QueryRow(ctx, "select runnel.adopt_default()").Scan(&name)
	})
	if pgfault.State(err) == stateStraddle {
		return ErrStraddle.Wrap(err, "adopt the default partition")
	}
	if err != nil {
		return fmt.Errorf("adopt the default partition: %w", databaseError(err))
	}
	if name != nil {
		done.Adopted = *name
	}
	return nil
}

func (h *Housekeeper) create(ctx context.Context, conn *pgx.Conn, done *Housekeeping) error {
	days := h.DaysAhead
	if days <= 0 {
		days = defaultDaysAhead
	}
	ensure := func() error {
		return retryLocked(ctx, func() error {
			return conn.QueryRow(ctx, "select runnel.ensure_partitions($1)", days).Scan(&done.Created)
		})
	}
	err := ensure()
	if pgfault.State(err) == "23514" && done.Adopted == "" {
		// A row of a day without a partition came in after the adoption.
		if err := h.adopt(ctx, conn, done); err != nil {
			return err
		}
		err = ensure()
	}
	if err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return nil
}

func (h *Housekeeper) drop(ctx context.Context, conn *pgx.Conn, done *Housekeeping) error {
	if h.Retention <= 0 {
		return nil
	}
	for {
		var name *string
		err := retryLocked(ctx, func() error { // one partition a transaction: writers wait briefly
			return conn.QueryRow(ctx, "select runnel.drop_confirmed($1)", h.Retention).Scan(&name)
		})
		if err != nil {
			return fmt.Errorf("drop partitions: %w", databaseError(err))
		}
		if name == nil {
			return nil
		}
		done.Dropped = append(done.Dropped, *name)
	}
}

// retryLocked calls try again when it lost against a lock: lock_timeout, or a
// deadlock that the server resolved.
func retryLocked(ctx context.Context, try func() error) error {
	pause := lockPause
	for attempt := 1; ; attempt++ {
		err := try()
		if code := pgfault.State(err); attempt == lockAttempts || code != "55P03" && code != "40P01" {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(err, ctx.Err())
		case <-timer.C:
		}
		pause *= 2
	}
}
