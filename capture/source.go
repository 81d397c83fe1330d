package capture

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/position"
)

// Source is one attempt to stream a pipeline's slot: Open, Run once, Close.
// After an error open another.
//
// Invariants:
//  1. Only Run's goroutine touches the replication connection once it runs.
//  2. What is confirmed never goes back (a ratchet), and starts at StartLSN.
//  3. The slot's record is committed before Open returns, hence before
//     anything is published.
//  4. The position at which Run starts is the one that StartLSN gave: if the
//     slot moved in between, Run ends with an error.
//  5. The slot passes the consistent point only after the record says that
//     the rows from before it are confirmed: it would not replay what a start
//     without that mark begins with.
//  6. The publication is, when Run has the slot, the one that Open checked.
//  7. The server is told nothing beyond the limit that is recorded with the slot:
//     a slot beyond it was moved, or made anew, by somebody else. With Config.Held, nothing
//     either of which it is not saved where it is.
//
// Confirm, Started, Audit and the getters are safe from any goroutine.
type Source struct {
	cfg settings

	sql   *pgx.Conn
	sqlMu sync.Mutex // guards sql while Run is active
	repl  *pgconn.PgConn

	version  int // server_version_num
	systemID string
	timeline int32
	database string
	eras     lineage

	rec     *record // nil: a repair of a pipeline without one
	damage  error   // why the slot is of no use; see Config.Repair
	start   uint64  // lowest LSN that Run may replay
	flushed uint64  // the slot's confirmed_flush when opened
	audit   *audit  // what the stream must show

	publication string // its state when opened, before it was checked

	statusInterval time.Duration
	confirmed      atomic.Uint64
	limit          uint64     // nothing beyond is confirmed to the server; Run's
	tails          savedTails // under sqlMu
	ran            atomic.Bool
	started        chan struct{}
	audited        chan *audit // holds one, and is closed when Run ends
}

// Open connects, checks the server and the outbox, and makes the slot if none
// was ever recorded. It does not take the slot: Run does.
//
// Every error that a person can meet has a code (see Faults); Halts tells
// which of them trying again cannot help.
func Open(ctx context.Context, config Config) (*Source, error) {
	cfg, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Source{cfg: cfg, started: make(chan struct{}), audited: make(chan *audit, 1)}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Source) open(ctx context.Context) (err error) {
	if s.sql, err = s.cfg.connectSQL(ctx, "capture"); err != nil {
		return err
	}
	sv, err := ReadServer(ctx, s.sql)
	if err != nil {
		return err
	}
	if err := sv.Check(); err != nil {
		return err
	}
	s.version = sv.Version
	limits := `set statement_timeout = 0; set lock_timeout = 0; set idle_session_timeout = 0; set idle_in_transaction_session_timeout = 0`
	if s.version >= 170000 {
		limits += `; set transaction_timeout = 0`
	}
	if _, err := s.sql.Exec(ctx, limits); err != nil {
		return queryFault(err, "prepare the session")
	}
	if err := checkTables(ctx, s.sql, sv.Role); err != nil {
		return err
	}
	if s.publication, err = readPublication(ctx, s.sql, s.cfg.Publication); err != nil {
		return err
	}
	if err := CheckPublication(ctx, s.sql, s.cfg.Publication); err != nil {
		return err
	}
	if s.repl, err = s.cfg.connectReplication(ctx); err != nil {
		return err
	}
	timeout, err := senderTimeout(ctx, s.repl)
	if err != nil {
		return err
	}
	s.statusInterval = s.cfg.StatusInterval
	if timeout > 0 {
		s.statusInterval = min(s.statusInterval, timeout/3)
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	if err := s.ensureSlot(ctx); err != nil || s.cfg.Repair {
		return err
	}
	// Not s.flushed: a new slot's is its consistent point, and the rows from
	// before it would count as confirmed as soon as they were handed over.
	s.confirmed.Store(s.start)
	s.limit = s.flushed
	if s.cfg.Held == nil {
		s.limit = max(s.rec.limit, s.flushed)
	}
	s.audit, err = newAudit(ctx, s.sql, s.cfg, s.rec, s.audited)
	return err
}

// At returns the position of an LSN in the history that this source streams.
func (s *Source) At(lsn uint64) position.Position {
	return position.Position{Epoch: s.eras.at(lsn), LSN: lsn}
}

// Epoch numbers the era that the server writes.
func (s *Source) Epoch() uint32 { return s.eras.newest().Epoch }

// StartLSN is the lowest LSN that Run may replay. Every transaction whose
// commit LSN is lower is confirmed. While the rows from before the slot are
// not confirmed, it is theirs: the slot's consistent point - 1.
func (s *Source) StartLSN() uint64 { return s.start }

// Slot is the name of the slot.
func (s *Source) Slot() string { return s.cfg.Slot }

// Pipeline is the name of the pipeline.
func (s *Source) Pipeline() string { return s.cfg.Pipeline }

// Bootstrapping reports whether rows from before the slot are still to be
// confirmed.
func (s *Source) Bootstrapping() bool { return !s.rec.done }

// Started is closed when Run holds the slot: from then on no other process can
// stream from it.
func (s *Source) Started() <-chan struct{} { return s.started }

// Confirm says that every transaction whose commit LSN is below lsn is
// durable elsewhere. It never goes back; the server is told with the next
// status.
func (s *Source) Confirm(lsn uint64) {
	for {
		old := s.confirmed.Load()
		if lsn <= old || s.confirmed.CompareAndSwap(old, lsn) {
			return
		}
	}
}

// Confirmed returns what Confirm reached.
func (s *Source) Confirmed() uint64 { return s.confirmed.Load() }

// Close ends the connections. Call it after Run has returned, or instead of
// Run. It is idempotent.
func (s *Source) Close() {
	if s.repl != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
		_ = s.repl.Close(ctx) // no-op once Run has taken it over
		if !s.ran.Load() {
			select {
			case <-s.repl.CleanupDone(): // the cancelling of a command, if ctx ended amid one
			case <-ctx.Done():
			}
		}
		cancel()
		s.repl = nil
	}
	if s.sql != nil {
		closeSQL(s.sql)
		s.sql = nil
	}
}

// errMoved is no fault: another process streamed between Open and Run.
func errMoved(slot string, was, is uint64) error {
	return fmt.Errorf("slot %s moved from %s to %s since it was looked at: start over",
		slot, pglogrepl.LSN(was), pglogrepl.LSN(is))
}
