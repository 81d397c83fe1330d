package capture

import (
	"context"
	"time"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// end leaves the connection as politely as err allows and returns what Run
// returns. Giving the slot up now lets a successor have it at once.
func (r *run) end(err error) error {
	defer func() { _ = r.wire.conn.Close() }()
	deadline := time.Now().Add(closeLimit)
	if r.marking != nil {
		if markErr := <-r.marking; markErr != nil && r.ctx.Err() != nil {
			r.cfg.Logger.Warn("the end of the bootstrap is not recorded: its rows will be looked at again", "error", markErr)
		}
	}
	if !r.broken {
		r.pace.off()
		r.goodbye(deadline)
	}
	if r.ctx.Err() == nil || fault.Find(err) != nil {
		return err
	}
	if r.delivered && r.confirmed.Load() >= r.rec.consistentPoint {
		ctx, cancel := context.WithDeadline(context.WithoutCancel(r.ctx), deadline)
		defer cancel()
		return r.SnapshotDone(ctx)
	}
	return nil
}

// goodbye sends the last status and ends the stream. What fails here the
// server notices by itself, only later.
func (r *run) goodbye(deadline time.Time) {
	if r.wire.status(r.confirmed.Load(), time.Now(), false) != nil || r.wire.message('c', "") != nil {
		return
	}
	// The rest of the stream is thrown away until the server ends it too.
	for ended := false; !ended; {
		kind, _, ok, err := r.wire.next()
		switch {
		case err != nil:
			return
		case !ok:
			if r.wire.fill(deadline) != nil {
				return
			}
		default:
			ended = kind == 'Z' || kind == 'E'
		}
	}
	_ = r.wire.message('X', "")
}
