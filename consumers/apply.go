package consumers

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/position"
)

// entry is a message on its way into the copy.
type entry struct {
	Message
	id      broker.MessageID
	stamp   position.Stamp
	handler *handler // nil: no handler takes the type
	// The history of the database that it is from, and whether that has lost it.
	history position.History
	lost    bool
}

// fate is what became of an entry in a committed transaction.
type fate uint8

const (
	wasApplied   fate = iota
	wasSkipped        // applied, or put aside, before
	wasUnknown        // no handler takes it
	wasDiscarded      // its handler gave it up
	wasParked         // it failed and was put aside
	wasBehind         // put aside behind an earlier event of its key
	wasLost           // the source database has lost it: see lost.go
)

// decision is what becomes of an entry without its handler, after it failed.
type decision struct {
	fate   fate        // wasDiscarded or wasParked
	parked parkedEvent // for wasParked: all but the message
}

// transact puts entries into the copy, in order, in one transaction, and
// returns the fates of those that are now durable: all, or those before a gap.
// Of one entry alone, d says what becomes of it instead. What comes behind a
// parked event of its key is parked too, and the position moves past it.
//
// Errors of type *trouble can be tried again, and must be when it is unknown
// whether the commit happened: then the gate decides, because the lock on the
// position row waits for the earlier transaction to end. Other errors stop
// the projection.
func (w *worker) transact(ctx context.Context, entries []entry, d *decision) ([]fate, error) {
	var fates []fate
	var last position.Stamp
	var lost []lostRow
	err := w.locked(ctx, func(tx pgx.Tx, held partitionRow) (moved bool, err error) {
		fates, last, lost, err = w.fill(ctx, tx, held, entries, d)
		return last != held.Stamp, err
	})
	if err != nil {
		return nil, err
	}
	w.noted(w.newUnhandled(entries, fates))
	w.notedLost(lost)
	for _, f := range fates {
		if f == wasParked || f == wasBehind {
			w.knowParked(w.parked + 1)
		}
	}
	w.status.passed(last, w.p.now())
	return fates, nil
}

// locked runs do in a transaction that holds the lock on the partition's position
// row, and commits when do says that there is something to commit.
func (w *worker) locked(ctx context.Context, do func(tx pgx.Tx, held partitionRow) (bool, error)) error {
	tx, release, err := w.p.db.Open(ctx, w.partition)
	if err != nil {
		return outageOf(ctx, err)
	}
	defer release()
	conn := tx.Conn()
	committed := false
	defer func() {
		if !committed {
			rollback(ctx, tx)
		}
	}()
	held, err := w.p.lock(ctx, tx, w.partition, w.state)
	switch {
	case errors.Is(err, ErrTables), errors.Is(err, ErrVersion):
		return err
	case err != nil:
		return outageOf(ctx, err)
	}
	w.is(held.state)
	w.knowParked(held.parked)
	commit, err := do(tx, held)
	if err != nil || !commit {
		return err
	}
	failpoint.Hit("consumers.applied") // and not committed
	if err := tx.Commit(ctx); err != nil {
		return w.trouble(ctx, err, conn.IsClosed())
	}
	committed = true
	failpoint.Hit("consumers.committed") // and not acknowledged
	return nil
}

// fill does the work of transact within its transaction.
func (w *worker) fill(ctx context.Context, tx pgx.Tx, held partitionRow, entries []entry, d *decision) ([]fate, position.Stamp, []lostRow, error) {
	stored, parked := held.Stamp, held.parked
	blocked, err := w.blockedKeys(ctx, tx, entries, parked)
	if err != nil {
		return nil, stored, nil, outageOf(ctx, err)
	}
	var lost []lostRow
	fates := make([]fate, 0, len(entries))
	var aside []parkedEvent
	last, lastID := stored, broker.MessageID{}
	fresh := make([]Message, 0, len(entries))
	guard := &guardedTx{Tx: tx}
	for i := range entries {
		e := &entries[i]
		v := w.gate(last, e.stamp)
		if v == gap || v == torn {
			if i == 0 {
				return nil, stored, nil, w.broken(v, stored, e)
			}
			break // what came before it is right: keep that first
		}
		// After the gate: what is ahead must be the next one, so that this copy is
		// complete up to there.
		if v == pass && held.state == building && w.limit.Less(e.Position) {
			if i == 0 {
				return nil, stored, nil, &trouble{class: ahead, err: errAhead}
			}
			break
		}
		e.CatchingUp = held.state == building
		f := w.fateOf(e, v, blocked, d)
		if f == wasParked || f == wasBehind {
			if parked+int64(len(aside)) >= int64(w.p.cfg.ParkLimit) {
				if i == 0 {
					return nil, stored, nil, &trouble{class: full, err: ErrParkedFull.New("%d events are parked, the limit is %d", parked, w.p.cfg.ParkLimit).At("%s", w.partition)}
				}
				break
			}
			row := parkedEvent{state: stateBehind}
			if f == wasParked {
				row = d.parked
			}
			row.Message = e.Message
			aside = append(aside, row)
		}
		switch {
		case f != wasApplied:
		case w.p.batch != nil:
			fresh = append(fresh, e.Message)
		default:
			if err := w.call(guard, func() error { return e.handler.call(ctx, guard, e.Message) }); err != nil {
				return nil, stored, nil, blame(w.handlerTrouble(ctx, err, guard), i)
			}
		}
		fates = append(fates, f)
		if v == pass {
			lost = append(lost, w.lostRows(e, last)...)
			last, lastID = e.stamp, e.id
		}
	}
	if len(fresh) > 0 {
		if err := w.call(guard, func() error { return w.p.batch(ctx, guard, fresh) }); err != nil {
			return nil, stored, nil, w.handlerTrouble(ctx, err, guard)
		}
	}
	if last == stored {
		return fates, last, lost, nil
	}
	if len(aside) > 0 {
		if err := w.p.park(ctx, tx, w.partition, aside); err != nil {
			return nil, stored, nil, w.trouble(ctx, err, tx.Conn().IsClosed())
		}
	}
	if err := w.p.move(ctx, tx, w.partition, last, lastID, len(aside), w.p.passedIDs(entries, fates), w.newUnhandled(entries, fates), lost); err != nil {
		return nil, stored, nil, w.trouble(ctx, err, tx.Conn().IsClosed())
	}
	return fates, last, lost, nil
}

// fateOf says what becomes of an entry; wasApplied means that its handler decides.
func (w *worker) fateOf(e *entry, v verdict, blocked map[string]bool, d *decision) fate {
	switch {
	case v == skip:
		return wasSkipped
	case e.lost:
		return wasLost
	case w.p.batch == nil && e.handler == nil:
		return wasUnknown
	case blocked[e.AggregateID]:
		return wasBehind
	case d != nil:
		return d.fate
	}
	return wasApplied
}

// blockedKeys returns the keys of entries that have parked events.
func (w *worker) blockedKeys(ctx context.Context, tx pgx.Tx, entries []entry, parked int64) (map[string]bool, error) {
	if parked == 0 {
		return nil, nil
	}
	keys := make([]string, 0, len(entries))
	for i := range entries {
		keys = append(keys, entries[i].AggregateID)
	}
	return w.p.blocked(ctx, tx, w.partition, keys)
}

// call runs a handler, and finds out when it broke its transaction without
// saying so.
func (w *worker) call(guard *guardedTx, h func() error) error {
	if err := caught(h); err != nil {
		return err
	}
	return guard.check()
}

// caught runs a handler and makes its panic an error.
func caught(h func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = ErrHandlerPanic.Wrap(&panicked{r, debug.Stack()}, "the event is tried again")
		}
	}()
	return h()
}

// panicked is a handler's panic; its stack goes to the log only.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprint(p.value) }

// handlerTrouble judges a handler's error.
func (w *worker) handlerTrouble(ctx context.Context, err error, guard *guardedTx) error {
	if guard.gone() {
		return ErrHandlerTx.Wrap(err, "the handler ended its transaction by a statement of its own; rows may be durable without their position").
			At("%s", w.partition).
			Fix("Remove the statement from the handler; then rebuild the projection: %s.", w.anew())
	}
	var d *discarded
	if errors.As(err, &d) || errors.Is(err, ErrHandlerPanic) {
		if ctx.Err() == nil && !guard.Conn().IsClosed() {
			return &trouble{class: failed, err: err}
		}
	}
	return w.trouble(ctx, err, guard.Conn().IsClosed())
}

// outageOf judges an error that came up before any handler ran: whatever it
// is, no event is at fault.
func outageOf(ctx context.Context, err error) error {
	if c := classify(ctx, err, true); c == stopping || c == conflict {
		return &trouble{class: c, err: err}
	}
	return &trouble{class: down, err: err}
}

func (w *worker) trouble(ctx context.Context, err error, closed bool) *trouble {
	return &trouble{class: classify(ctx, err, closed), err: err}
}

// broken says that the partition does not go on where the copy stands.
func (w *worker) broken(v verdict, stored position.Stamp, e *entry) error {
	what := ErrGap.New("after position %s with ordinal %d comes position %s: expected ordinal %d, found %d",
		stored.Position, stored.Ordinal, e.Position, stored.Ordinal+1, e.Ordinal)
	switch {
	case v == torn:
		what.Message += "; the topic was made anew, or the copy is of another history"
	case stored.IsZero():
		what.Message = fmt.Sprintf("the copy is new and must begin with ordinal 1, found %d at position %s: "+
			"the topic's beginning is gone", e.Ordinal, e.Position)
	}
	next := w.p.cfg.Version
	if w.state == live && !stored.IsZero() {
		next++ // one that is not built yet may go on without what is missing
	}
	return what.At("%s", w.partition).
		Fix("The copy is right up to its position. Find out who trimmed or deleted the topic; "+
			"then rebuild from what it holds: start version %d with Config.AllowMissing.", next)
}

// anew says how this copy is built from the start again.
func (w *worker) anew() string {
	if w.state == building {
		return fmt.Sprintf("give this copy up with `runnel rebuild cancel --projection %s --yes` and start version %d again", w.p.cfg.Name, w.p.cfg.Version)
	}
	return fmt.Sprintf("start version %d", w.p.cfg.Version+1)
}

// rollback gives a transaction up even when ctx has ended.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	// A rollback that fails closes the connection, which rolls back too.
	_ = tx.Rollback(ctx)
}
