package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/pgfault"
)

// How long an attempt to connect may take, unless the address says otherwise, and
// how often a run that prepares looks whether the database still answers.
const (
	connectLimit   = 10 * time.Second
	answerInterval = 2 * time.Second
)

// whileAnswered calls do, and ends its context when the source database does not answer
// any more: the error is then capture.ErrUnreachable, whatever do returned. Otherwise that
// context ends with ctx, so that what do leaves behind may use it. Statements of do may
// rightly take hours (the slot waits for open transactions, the outbox for locks), so that
// none can have a limit: what shows that the network or the server has gone silent is that
// it answers nobody. Once progress is kept, that asks all the time.
func (r *run) whileAnswered(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	context.AfterFunc(ctx, func() { cancel(nil) }) // not before, at the latest with its parent
	watching, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(answerInterval)
		defer tick.Stop()
		for {
			select {
			case <-watching.Done():
				return
			case <-tick.C:
			}
			if err := r.answers(watching); err != nil && watching.Err() == nil {
				cancel(err)
				return
			}
		}
	}()
	err := do(ctx)
	stop()
	<-done
	if cause := context.Cause(ctx); errors.Is(cause, capture.ErrUnreachable) {
		return cause
	}
	return err
}

// answers connects anew, as a connection that is there may be the only silent one. Any
// answer will do, also a refusal: what it means is for others to say. Of several hosts
// each has its time.
func (r *run) answers(ctx context.Context) error {
	db, err := r.connect(ctx)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, connectLimit)
		defer cancel()
		err = db.Ping(ctx)
		_ = db.Close(ctx) // what it has to say was said
	}
	var refused *pgconn.PgError
	if err == nil || errors.As(err, &refused) || !pgconn.Timeout(err) && !errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if errors.Is(err, capture.ErrUnreachable) {
		return err
	}
	return capture.ErrUnreachable.Wrap(pgfault.Root(err), "it does not answer any more")
}
