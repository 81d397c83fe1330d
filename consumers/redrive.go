package consumers

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/failpoint"
)

// lookAgain is how often a partition with parked events looks for those that a
// person wants to be tried.
const lookAgain = 3 * time.Second

// knowParked notes how many events are parked. While there are any, the worker
// looks for those that a person wants to be tried.
func (w *worker) knowParked(n int64) {
	if n > 0 && w.parked == 0 {
		w.wakeAt(w.p.now().Add(lookAgain))
	}
	w.parked = n
	w.status.parked(n)
}

// wakeAt makes the worker look for parked events at a time, unless it does sooner.
func (w *worker) wakeAt(at time.Time) {
	if w.look.IsZero() || at.Before(w.look) {
		w.look = at
	}
}

// redriveIn returns how long it is until parked events are to be looked for.
func (w *worker) redriveIn() time.Duration {
	if w.look.IsZero() {
		return silentLast // none is
	}
	return w.look.Sub(w.p.now())
}

// pause waits, and meanwhile tries parked events that are due: one that is applied
// may end what the partition waits for.
func (w *worker) pause(ctx context.Context, d time.Duration) error {
	for d > 0 {
		in := w.redriveIn()
		if in <= 0 {
			began := w.p.now()
			if err := w.redrive(ctx); err != nil {
				return err
			}
			d -= w.p.now().Sub(began)
			continue
		}
		in = min(in, d)
		if err := w.p.sleep(ctx, in); err != nil {
			return err
		}
		d -= in
	}
	return ctx.Err()
}

// waitFull waits for room among the parked events.
func (w *worker) waitFull(ctx context.Context, err error) error {
	if now := w.p.now(); now.Sub(w.fullSince) >= outageLog {
		w.fullSince = now
		w.log.Error("no more events can be parked, the partition waits", explain(err)...)
	}
	return w.pause(ctx, lookAgain)
}

// redrive tries parked events that are due, a few of one key: it is called again
// for more, after live events had their turn.
func (w *worker) redrive(ctx context.Context) error {
	var rows []parkedEvent
	var next time.Time
	err := w.settle(ctx, func(ctx context.Context) error {
		var err error
		if rows, next, err = w.p.due(ctx, w.codec, w.partition, w.p.now()); err != nil {
			return outageOf(ctx, err)
		}
		if len(rows) > 0 {
			return nil
		}
		n, err := w.p.countParked(ctx, w.partition)
		if err != nil {
			return outageOf(ctx, err)
		}
		w.knowParked(n)
		return nil
	})
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		w.look = time.Time{}
		if w.parked > 0 {
			w.look = w.p.now().Add(lookAgain)
		}
		if !next.IsZero() {
			w.wakeAt(next)
		}
		return nil
	}
	w.look = w.p.now() // there may be more
	entries := make([]entry, 0, len(rows))
	for i := range rows {
		e := entry{Message: rows[i].Message}
		if err := w.completeOnce(ctx, &e); err != nil {
			if i == 0 {
				delays := w.p.cfg.Retry.Delays
				return w.unlessChanged(w.tryLater(ctx, rows[0], e.Message, err, delays[len(delays)-1]))
			}
			break // those before it can do without its schema
		}
		entries = append(entries, e)
	}
	return w.unlessChanged(w.redriveKey(ctx, rows[:len(entries)], entries))
}

// unlessChanged is nil when another instance, or a person, was faster.
func (w *worker) unlessChanged(err error) error {
	if errors.Is(err, errChanged) {
		w.look = w.p.now().Add(lookAgain)
		return nil
	}
	return err
}

// redriveKey applies parked events of one key up to the first that fails, which is
// noted.
func (w *worker) redriveKey(ctx context.Context, rows []parkedEvent, entries []entry) error {
	var next *trouble // of the event behind the last of rows
	for all, of := rows, entries; ; {
		err := w.redriveEntries(ctx, rows, entries)
		t, ok := errors.AsType[*trouble](err)
		switch {
		case err == nil && next != nil:
			return w.failedAgain(ctx, all[len(rows)], of[len(rows)].Message, next.err)
		case !ok || t.class != failed:
			return err
		case t.entry == 1 || len(rows) == 1:
			return w.failedAgain(ctx, rows[0], entries[0].Message, t.err)
		case t.entry == 0: // a batch handler does not say which
			next, rows, entries = nil, rows[:1], entries[:1]
		default: // it waits alone, behind all before it
			next, rows, entries = t, rows[:t.entry-1], entries[:t.entry-1]
		}
	}
}

// redriveEntries applies parked events in one transaction with their removal.
func (w *worker) redriveEntries(ctx context.Context, rows []parkedEvent, entries []entry) error {
	var fates []fate
	err := w.settle(ctx, func(ctx context.Context) error {
		return w.locked(ctx, func(tx pgx.Tx, _ partitionRow) (bool, error) {
			if err := w.p.claim(ctx, tx, w.partition, rows); err != nil {
				return false, w.parkTrouble(ctx, tx, err)
			}
			var err error
			if fates, err = w.handleAll(ctx, tx, entries); err != nil {
				return false, err
			}
			if err := w.p.unpark(ctx, tx, w.partition, rows, w.p.unparkedIDs(rows, fates), w.newUnhandled(entries, fates)); err != nil {
				return false, w.parkTrouble(ctx, tx, err)
			}
			failpoint.Hit("consumers.redriven") // and not committed
			return true, nil
		})
	})
	if err == nil {
		w.noted(w.newUnhandled(entries, fates))
		w.knowParked(w.parked - int64(len(rows)))
		w.report(entries, fates)
		w.log.Info("parked events applied", keyCount, len(entries), keyKey, entries[0].AggregateID)
	}
	return err
}

// handleAll calls the handlers, of events that the position covers already.
func (w *worker) handleAll(ctx context.Context, tx pgx.Tx, entries []entry) ([]fate, error) {
	fates := make([]fate, len(entries))
	guard := &guardedTx{Tx: tx}
	if w.p.batch != nil {
		messages := make([]Message, len(entries))
		for i := range entries {
			messages[i] = entries[i].Message
		}
		if err := w.call(guard, func() error { return w.p.batch(ctx, guard, messages) }); err != nil {
			return nil, w.handlerTrouble(ctx, err, guard)
		}
		return fates, nil
	}
	for i := range entries {
		e := &entries[i]
		if e.handler == nil { // of a release before
			fates[i] = wasUnknown
			continue
		}
		if err := w.call(guard, func() error { return e.handler.call(ctx, guard, e.Message) }); err != nil {
			return nil, blame(w.handlerTrouble(ctx, err, guard), i)
		}
	}
	return fates, nil
}

// parkTrouble judges an error of a statement about parked events: no event is at
// fault.
func (w *worker) parkTrouble(ctx context.Context, tx pgx.Tx, err error) error {
	if errors.Is(err, errChanged) {
		return err
	}
	t := w.trouble(ctx, err, tx.Conn().IsClosed())
	if t.class == failed {
		t.class = down
	}
	return t
}

// failedAgain records that the first parked event of a key failed once more.
func (w *worker) failedAgain(ctx context.Context, r parkedEvent, m Message, cause error) error {
	if d, ok := errors.AsType[*discarded](cause); ok {
		return w.discardParked(ctx, r, m, d.err)
	}
	tries := counted(r.tries, cause)
	pause, again := w.p.cfg.Retry.next(tries, cause)
	if w.p.breaker.isOpen() { // this event may be right, and does not lose its tries
		return w.tryLater(ctx, r, m, cause, max(w.p.cfg.Retry.pause(r.tries, cause), w.p.cfg.Retry.Delays[0]))
	}
	r.Message, r.tries, r.cause, r.state, r.nextTry = m, tries, cause, stateParked, time.Time{}
	if again {
		r.state, r.nextTry = stateRetrying, w.p.now().Add(pause)
	}
	if err := w.keepParked(ctx, r); err != nil {
		return err
	}
	if again {
		w.p.cfg.Observer.failed(m, tries, pause, cause)
	}
	w.tellParked(m, r)
	return nil
}

// tryLater records that the first parked event of a key could not be tried, or not
// fairly. It loses no try, and other keys go on.
func (w *worker) tryLater(ctx context.Context, r parkedEvent, m Message, cause error, pause time.Duration) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.Message, r.cause, r.state, r.nextTry = m, cause, stateRetrying, w.p.now().Add(pause)
	if err := w.keepParked(ctx, r); err != nil {
		return err
	}
	w.p.cfg.Observer.failed(m, r.tries, pause, cause)
	w.tellParked(m, r)
	return nil
}

func (w *worker) keepParked(ctx context.Context, r parkedEvent) error {
	return w.onParked(ctx, r, func(tx pgx.Tx) error { return w.p.keepParked(ctx, tx, w.partition, r) })
}

// discardParked removes a parked event that its handler gave up.
func (w *worker) discardParked(ctx context.Context, r parkedEvent, m Message, cause error) error {
	err := w.onParked(ctx, r, func(tx pgx.Tx) error {
		rows := []parkedEvent{r}
		return w.p.unpark(ctx, tx, w.partition, rows, w.p.unparkedIDs(rows, []fate{wasDiscarded}), nil)
	})
	if err == nil {
		w.knowParked(w.parked - 1)
		w.p.cfg.Observer.discarded(m, cause)
		w.log.Warn("event discarded", w.describe(m, cause)...)
	}
	return err
}

// onParked changes the first parked event of a key; errChanged: it is not that any
// more.
func (w *worker) onParked(ctx context.Context, r parkedEvent, change func(pgx.Tx) error) error {
	return w.settle(ctx, func(ctx context.Context) error {
		return w.locked(ctx, func(tx pgx.Tx, _ partitionRow) (bool, error) {
			err := w.p.claim(ctx, tx, w.partition, []parkedEvent{r})
			if err == nil {
				err = change(tx)
			}
			if err != nil {
				return false, w.parkTrouble(ctx, tx, err)
			}
			return true, nil
		})
	})
}
