package capture

import (
	"time"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// end leaves the connection as politely as err allows and returns what Run
// returns. Giving the slot up now lets a successor have it at once.
func (r *run) end(err error) error {
	defer func() { _ = r.wire.conn.Close() }()
	recorded := r.endRecord()
	if !r.broken {
		r.pace.off()
		r.goodbye(time.Now().Add(closeLimit))
	}
	if r.ctx.Err() == nil || fault.Find(err) != nil {
		return err
	}
	return recorded
}

// goodbye sends the last status and ends the stream. What fails here the
// server notices by itself, only later.
func (r *run) goodbye(deadline time.Time) {
	if r.wire.status(r.confirmable(), time.Now(), false) != nil || r.wire.message('c', "") != nil {
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
