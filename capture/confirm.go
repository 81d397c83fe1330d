package capture

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// recording is a write to the pipeline's record, under way. It runs in a goroutine: a
// slow answer must not hold up the status messages.
type recording struct {
	done   bool // that the rows from before the slot are confirmed; else a new limit
	limit  uint64
	result chan error
	cancel context.CancelFunc
}

// How often the limit is raised at most: raising it writes WAL, and would keep an idle
// database busy.
const (
	busyRaise   = time.Second     // while events are published, or others write much
	afterRaise  = 5 * time.Second // for afterwards after that: the server logs within 15 s where decoding may begin again
	afterwards  = 30 * time.Second
	idleRaise   = time.Minute
	muchWritten = 64 << 10 // bytes of WAL beyond the limit
)

// confirmable is what the server may be told: what is confirmed, but nothing
// beyond the consistent point until the end of the bootstrap is recorded, nothing
// beyond the recorded limit, and never less than the slot has, which servers would
// take as a step back.
func (r *run) confirmable() uint64 {
	lsn := min(r.confirmed.Load(), r.limit)
	if !r.settled {
		lsn = min(lsn, r.rec.consistentPoint)
	}
	return max(lsn, r.flushed)
}

// held is what is confirmed, and may be saved.
func (s *Source) held() Held {
	if s.cfg.Held == nil {
		return Held{Confirmed: s.confirmed.Load()}
	}
	return s.cfg.Held()
}

// bootstrapped reports that the rows from before the slot are confirmed, which
// is still to be recorded.
func (r *run) bootstrapped() bool {
	return r.delivered && r.held().Confirmed >= r.rec.consistentPoint
}

// limited reports that more is confirmed than the server may be told.
func (r *run) limited() bool { return r.settled && r.held().Confirmed > r.limit }

// limitDue reports that the limit is to be raised: soon for events and for much WAL of
// others, which the slot would keep, and only once in a while for the rest.
func (r *run) limitDue() bool {
	if !r.limited() {
		return false
	}
	confirmed, now := r.held().Confirmed, time.Now()
	event := false // between limit and confirmed; the limit may have been raised since beyond was noted
	for _, commit := range []uint64{r.decoder.beyond, r.decoder.last} {
		event = event || commit >= r.limit && commit < confirmed
	}
	interval := idleRaise
	switch {
	case event || confirmed-r.limit > muchWritten:
		r.busyAt, interval = now, busyRaise
	case now.Sub(r.busyAt) < afterwards:
		interval = afterRaise
	}
	return now.Sub(r.raised) >= interval
}

// keepRecord moves the pipeline's record on, without waiting.
func (r *run) keepRecord() error {
	switch {
	case r.recording != nil:
		select {
		case err := <-r.recording.result:
			return r.recorded(err)
		default:
		}
	case r.bootstrapped():
		r.record(true)
	case r.limitDue():
		r.record(false)
	}
	return nil
}

func (r *run) record(done bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), recordLimit)
	w := &recording{done: done, result: make(chan error, 1), cancel: cancel}
	r.recording, r.raised = w, time.Now()
	write := r.raiseLimit
	if done {
		r.delivered = false
		write = r.snapshotDone
	}
	go func() {
		var err error
		w.limit, err = write(ctx)
		w.result <- err
	}()
}

// raise is the value of a new limit: what is confirmed, and of which it is saved where it
// is; or, where that is no matter, the end of the WAL, below which all is that can be
// confirmed by now.
const raise = `slot_limit = greatest(slot_limit, coalesce($2::text::pg_lsn, pg_current_wal_insert_lsn()))`

// raiseLimit raises the limit.
func (s *Source) raiseLimit(ctx context.Context) (limit uint64, err error) {
	return s.writeRecord(ctx, `update runnel.pipeline set `+raise+` where name = $1 returning slot_limit::text`)
}

// snapshotDone records that every row from before the slot is confirmed, so that the
// next start does not select them again.
func (s *Source) snapshotDone(ctx context.Context) (limit uint64, err error) {
	limit, err = s.writeRecord(ctx, `with repaired as (delete from runnel.repair_row
			where pipeline = $1 and exists (select from runnel.pipeline where name = $1 and consistent_point = $3::text::pg_lsn))
		update runnel.pipeline set snapshot_done = true, `+raise+` where name = $1 and consistent_point = $3::text::pg_lsn returning slot_limit::text`,
		pglogrepl.LSN(s.rec.consistentPoint).String())
	if err == nil {
		s.cfg.Logger.Info("the rows from before the slot are confirmed", keyLSN, pglogrepl.LSN(s.rec.consistentPoint).String())
	}
	return limit, err
}

// writeRecord changes the pipeline's record. It is durable before the server is told
// of anything that depends on it.
func (s *Source) writeRecord(ctx context.Context, update string, args ...any) (limit uint64, err error) {
	s.sqlMu.Lock()
	defer s.sqlMu.Unlock()
	held, upTo := s.held(), (*string)(nil)
	if s.cfg.Held != nil {
		lsn := pglogrepl.LSN(held.Confirmed).String()
		upTo = &lsn
	}
	changed := s.tails.changed(held.Tails)
	var text string
	err = pgx.BeginFunc(ctx, s.sql, func(tx pgx.Tx) error {
		// Local: no standby is waited for. After a failover the limit is not looked at, and
		// Settle saves the tails.
		if _, err := tx.Exec(ctx, `set local synchronous_commit = local`); err != nil {
			return err
		}
		if len(changed) > 0 {
			batch := &pgx.Batch{}
			queueTails(batch, s.cfg.Pipeline, changed)
			if err := tx.SendBatch(ctx, batch).Close(); err != nil {
				return err
			}
		}
		return tx.QueryRow(ctx, update, append([]any{s.cfg.Pipeline, upTo}, args...)...).Scan(&text)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, errRepaired
	}
	if err != nil && ctx.Err() != nil {
		return 0, ErrUnreachable.Wrap(err, "no answer within %s", recordLimit).At("%s", s.cfg.address())
	}
	if err != nil {
		return 0, queryFault(err, "write the pipeline's record")
	}
	s.tails.saved(changed)
	if s.cfg.Held != nil { // the record's may be another daemon's
		return held.Confirmed, nil
	}
	return parseLSN(text)
}

// errRepaired is no fault: this process was paused for long.
var errRepaired = errors.New("the slot was made anew by another process: start over")

func (r *run) recorded(err error) error {
	w := r.recording
	w.cancel()
	r.recording = nil
	if err == nil {
		r.settled = r.settled || w.done
		if w.done {
			r.busyAt = time.Now() // with what was read from the table
		}
		r.limit, r.decoder.limit = w.limit, w.limit
	}
	return err
}

// endRecord waits for the recording for at most closeLimit. On a shutdown those
// that are due are made: the next start need not begin with those rows again.
func (r *run) endRecord() error {
	giveUp := time.NewTimer(closeLimit)
	defer giveUp.Stop()
	for {
		if r.recording == nil {
			switch {
			case r.ctx.Err() == nil:
				return nil
			case r.bootstrapped():
				r.record(true)
			case r.limited():
				r.record(false)
			default:
				return nil
			}
		}
		var err error
		select {
		case err = <-r.recording.result:
		case <-giveUp.C:
			r.recording.cancel()
			err = <-r.recording.result
		}
		if err := r.recorded(err); err != nil {
			return err
		}
	}
}
