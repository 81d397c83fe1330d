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
}

// fate is what became of an entry in a committed transaction.
type fate uint8

const (
	wasApplied fate = iota
	wasSkipped
	wasUnknown
	wasDiscarded
)

// transact puts entries into the copy, in order, in one transaction, and
// returns the fates of those that are now durable: all, or those before a gap.
// A discarded entry moves the position without its handler.
//
// Errors of type *trouble can be tried again, and must be when it is unknown
// whether the commit happened: then the gate decides, because the lock on the
// position row waits for the earlier transaction to end. Other errors stop
// the projection.
func (w *worker) transact(ctx context.Context, entries []entry, discard bool) ([]fate, error) {
	conn, err := w.p.cfg.Database.Acquire(ctx)
	if err != nil {
		return nil, outageOf(ctx, err)
	}
	defer conn.Release()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted})
	if err != nil {
		return nil, outageOf(ctx, err)
	}
	committed := false
	defer func() {
		if !committed {
			rollback(ctx, tx)
		}
	}()

	stored, err := w.p.lock(ctx, tx, w.partition)
	if err != nil {
		if errors.Is(err, ErrTables) {
			return nil, err
		}
		return nil, outageOf(ctx, err)
	}
	fates := make([]fate, 0, len(entries))
	last, lastID := stored, broker.MessageID{}
	fresh := make([]Message, 0, len(entries))
	guard := &guardedTx{Tx: tx}
	for i := range entries {
		e := &entries[i]
		v := gate(last, e.stamp)
		if v == gap || v == torn {
			if i == 0 {
				return nil, w.broken(v, stored, e)
			}
			break // what came before it is right: keep that first
		}
		f := wasApplied
		switch {
		case v == skip:
			f = wasSkipped
		case discard:
			f = wasDiscarded
		case w.p.batch != nil:
			fresh = append(fresh, e.Message)
		case e.handler == nil:
			f = wasUnknown
		default:
			if err := w.call(guard, func() error { return e.handler.call(ctx, guard, e.Message) }); err != nil {
				return nil, w.handlerTrouble(ctx, err, guard)
			}
		}
		fates = append(fates, f)
		if v == pass {
			last, lastID = e.stamp, e.id
		}
	}
	if len(fresh) > 0 {
		if err := w.call(guard, func() error { return w.p.batch(ctx, guard, fresh) }); err != nil {
			return nil, w.handlerTrouble(ctx, err, guard)
		}
	}
	if last != stored {
		if err := w.p.move(ctx, tx, w.partition, last, lastID); err != nil {
			return nil, w.trouble(ctx, err, conn.Conn().IsClosed())
		}
		failpoint.Hit("consumers.applied") // and not committed
		if err := tx.Commit(ctx); err != nil {
			return nil, w.trouble(ctx, err, conn.Conn().IsClosed())
		}
		committed = true
		failpoint.Hit("consumers.committed") // and not acknowledged
	}
	w.status.passed(last, w.p.now())
	return fates, nil
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
			Fix("Remove the statement from the handler; then rebuild the projection: stop every instance, run: %s and start version %d.",
				w.p.forget(), w.p.cfg.Version+1)
	}
	var d *discarded
	if errors.As(err, &d) || errors.Is(err, ErrHandlerPanic) {
		if ctx.Err() == nil && !guard.Conn().IsClosed() {
			return &trouble{failed, err}
		}
	}
	return w.trouble(ctx, err, guard.Conn().IsClosed())
}

// outageOf judges an error that came up before any handler ran: whatever it
// is, no event is at fault.
func outageOf(ctx context.Context, err error) error {
	if c := classify(ctx, err, true); c == stopping || c == conflict {
		return &trouble{c, err}
	}
	return &trouble{down, err}
}

func (w *worker) trouble(ctx context.Context, err error, closed bool) error {
	return &trouble{classify(ctx, err, closed), err}
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
	return what.At("%s", w.partition).
		Fix("The copy is right up to its position. Find out who trimmed or deleted the topic; "+
			"then rebuild from what it holds: stop every instance, run: %s and start version %d.",
			w.p.forget(), w.p.cfg.Version+1)
}

// rollback gives a transaction up even when ctx has ended.
func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	// A rollback that fails closes the connection, which rolls back too.
	_ = tx.Rollback(ctx)
}
