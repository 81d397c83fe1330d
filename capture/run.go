package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/router"
)

const (
	startLimit  = 30 * time.Second // for the answer to START_REPLICATION
	recordLimit = 10 * time.Second // for a write to the pipeline's record
	lookLimit   = 10 * time.Second // for looking at slot and publication
)

var errAlreadyRan = errors.New("capture: a Source runs once")

// Run takes the slot and sends the stream to out until ctx ends, when it sends
// a last status, gives the slot up and returns nil. Any error ends it for
// good; the caller opens another Source.
//
// First come the rows from before the slot, if they are not confirmed yet, as
// one transaction, then the stream. While out blocks, status messages go on.
func (s *Source) Run(ctx context.Context, out chan<- *router.Batch) error {
	if s.ran.Swap(true) {
		return errAlreadyRan
	}
	defer close(s.audited)
	if len(s.Unsettled()) > 0 {
		return errors.New("capture: Run before Settle")
	}
	if err := s.repl.SyncConn(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("the replication connection: %w", err)
	}
	hijacked, err := s.repl.Hijack()
	if err != nil {
		return fmt.Errorf("take the replication connection over: %w", err)
	}
	r := &run{
		Source: s, ctx: ctx, out: out, pid: hijacked.PID,
		wire: newWire(hijacked.Conn), decoder: newDecoder(s.eras, s.cfg.Pipeline),
		tick: time.NewTicker(s.statusInterval), pace: newPacer(hijacked.Conn),
		settled: s.rec.done,
	}
	r.decoder.limit = s.limit
	r.decoder.audit, s.audit = s.audit, nil
	defer r.tick.Stop()
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = hijacked.Conn.SetReadDeadline(time.Unix(1, 0))
	})
	err = r.stream()
	if !stop() {
		<-interrupted // or it could cut the good-bye short
	}
	return r.end(err)
}

// run is the state of Run. It belongs to one goroutine, which owns the
// replication connection.
type run struct {
	*Source
	ctx     context.Context
	out     chan<- *router.Batch
	pid     uint32
	wire    *wire
	decoder *decoder
	batch   batcher
	pace    pacer

	tick       *time.Ticker // wakes a blocked send
	nextStatus time.Time
	recording  *recording // nil: none is under way
	raised     time.Time  // when a recording was begun last
	busyAt     time.Time  // when there was something to confirm last
	delivered  bool       // the rows from before the slot were handed over
	settled    bool       // that they are confirmed is recorded
	sent       int64      // when the newest message was, by the server's clock
	broken     bool       // the connection is of no use any more
}

func (r *run) stream() error {
	if err := r.take(); err != nil {
		return err
	}
	close(r.started)
	if !r.rec.done {
		if err := r.snapshot(); err != nil {
			return err
		}
		r.delivered = true
	}
	for {
		kind, body, ok, err := r.wire.next()
		if err != nil {
			r.broken = true
			return err
		}
		if !ok {
			if err := r.send(); err != nil {
				return err
			}
			if err := r.fill(); err != nil {
				return err
			}
			continue
		}
		if err := r.message(kind, body); err != nil {
			return err
		}
		if r.batch.full() {
			if err := r.send(); err != nil {
				return err
			}
		}
	}
}

// message takes one message of the server's.
func (r *run) message(kind byte, body []byte) error {
	switch kind {
	case 'd':
	case 'E':
		r.broken = true
		pg, err := asPgError(body)
		if err != nil {
			return err
		}
		return streamFault(pg, r.cfg.Slot)
	case 'N', 'S': // notice, parameter
		return nil
	case 'c', 'C', 'Z':
		r.broken = true
		return ErrStream.New("the server ended the stream: it shuts down")
	default:
		r.broken = true
		return ErrStream.New("a message of the unknown type %q", kind)
	}
	switch {
	case len(body) > 25 && body[0] == 'w': // start, end, time, then pgoutput's
		r.sent = int64(binary.BigEndian.Uint64(body[17:]))
		before := r.batch.bytes
		err := r.decoder.decode(body[25:], &r.batch)
		if r.batch.bytes > before { // a row
			r.batch.alias(r.wire.chunk)
		}
		return err
	case len(body) == 18 && body[0] == 'k':
		r.decoder.walEnd(binary.BigEndian.Uint64(body[1:]), &r.batch)
		if body[17] == 1 {
			return r.status(false)
		}
		return nil
	}
	return ErrStream.New("unknown copy data of %d bytes", len(body))
}

// take starts replication, which makes the slot ours, and checks that it is
// still where Open saw it.
func (r *run) take() error {
	query := fmt.Sprintf(`START_REPLICATION SLOT %s LOGICAL 0/0 ("proto_version" '1', "publication_names" %s, "binary" 'true')`,
		quoteSlot(r.cfg.Slot), quoteLiteral(pgx.Identifier{r.cfg.Publication}.Sanitize()))
	b, err := (&pgproto3.Query{String: query}).Encode(nil)
	if err != nil {
		return err
	}
	if err := r.wire.write(b); err != nil {
		r.broken = true
		return err
	}
	if err := r.awaitCopy(time.Now().Add(startLimit)); err != nil {
		if errors.Is(err, ErrSlotBusy) {
			return r.busy(r.ctx, err)
		}
		return err
	}
	// Before the server is told anything: another process may have made the slot anew.
	now, publication, err := r.look()
	if err != nil {
		return err
	}
	if now.ActivePID != int32(r.pid) {
		return ErrUnreachable.New("the two connections lead to different servers, or the slot was lost at once")
	}
	if now.ConfirmedFlush != r.flushed {
		return errMoved(r.cfg.Slot, r.flushed, now.ConfirmedFlush)
	}
	if err := unchanged(r.cfg.Publication, r.publication, publication); err != nil {
		return err
	}
	return r.status(false)
}

// look reads the slot and the publication's state. The server may have died
// without a word since Open, so it has a limit.
func (r *run) look() (slot Slot, publication string, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, lookLimit)
	defer cancel()
	r.sqlMu.Lock()
	defer r.sqlMu.Unlock()
	if slot, err = ReadSlot(ctx, r.sql, r.cfg.Slot); err != nil {
		return Slot{}, "", err
	}
	rec, err := readRecord(ctx, r.sql, r.cfg.Pipeline)
	if err != nil {
		return Slot{}, "", err
	}
	if rec == nil || rec.consistentPoint != r.rec.consistentPoint || rec.damage != "" {
		return Slot{}, "", fmt.Errorf("the record of slot %s changed since it was looked at: start over", r.cfg.Slot)
	}
	publication, err = readPublication(ctx, r.sql, r.cfg.Publication)
	return slot, publication, err
}

// awaitCopy waits for the answer to START_REPLICATION.
func (r *run) awaitCopy(deadline time.Time) error {
	for {
		kind, body, ok, err := r.wire.next()
		switch {
		case err != nil:
			r.broken = true
			return err
		case !ok:
			if err := r.wire.makeRoom(); err != nil {
				return err
			}
			if err := r.deadline(deadline); err != nil {
				return err
			}
			if err := r.wire.read(); err != nil {
				return r.readFault(err)
			}
		case kind == 'W':
			return nil
		case kind == 'N' || kind == 'S':
		default:
			if err := r.message(kind, body); err != nil {
				return err
			}
		}
	}
}

// fill waits for more of the stream, sending status messages meanwhile. A
// server that hears from us does not ping by itself, so we do: that is what
// finds a dead connection.
func (r *run) fill() error {
	began := time.Now()
	for now := began; ; now = time.Now() {
		silent := now.Sub(began)
		if silent >= r.cfg.ReceiveTimeout {
			r.broken = true
			return ErrSilent.New("nothing came for %s", silent.Round(time.Second))
		}
		if !now.Before(r.nextStatus) {
			if err := r.status(silent >= r.cfg.ReceiveTimeout/2); err != nil {
				return err
			}
		}
		if err := r.wire.makeRoom(); err != nil {
			return err
		}
		deadline := r.nextStatus
		if silent < gatherTime && r.behind() > behindLimit {
			if err := r.deadline(now.Add(gatherTime)); err != nil {
				return err
			}
			if r.pace.gather(); r.pace.on {
				deadline = time.Now().Add(gatherTime)
			}
		} else {
			r.pace.off()
		}
		if err := r.deadline(deadline); err != nil {
			return err
		}
		err := r.wire.read()
		if err == nil {
			return nil
		}
		if !isTimeout(err) {
			return r.readFault(err)
		}
	}
}

// behind tells how long after its commit the newest message was sent, by the
// server's clock.
func (r *run) behind() time.Duration {
	return time.Duration(r.sent-r.decoder.committed) * time.Microsecond
}

// deadline sets when a read gives up. The end of ctx sets a deadline too, from
// another goroutine, and must win: hence the look at it afterwards.
func (r *run) deadline(t time.Time) error {
	if err := r.wire.conn.SetReadDeadline(t); err != nil {
		return r.readFault(err)
	}
	return r.ctx.Err()
}

func (r *run) readFault(err error) error {
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	r.broken = true
	return fmt.Errorf("read the stream of slot %s: %w", r.cfg.Slot, err)
}

// send hands the current batch over, sending status messages while out blocks.
func (r *run) send() error {
	if r.batch.empty() {
		return nil
	}
	return r.hand(r.batch.cut())
}

func (r *run) hand(b *router.Batch) error {
	select {
	case r.out <- b:
		return nil
	default:
	}
	for {
		select {
		case r.out <- b:
			return nil
		case <-r.ctx.Done():
			return r.ctx.Err()
		case <-r.tick.C:
			if err := r.status(false); err != nil {
				return err
			}
		}
	}
}

// status sends what may be confirmed.
func (r *run) status(wantReply bool) error {
	if err := r.keepRecord(); err != nil {
		return err
	}
	now := time.Now()
	r.nextStatus = now.Add(r.statusInterval)
	if err := r.wire.status(r.confirmable(), now, wantReply); err != nil {
		r.broken = true
		return err
	}
	failpoint.Hit("capture.confirmed") // the server was told
	return nil
}
