package capture

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// Audit is what the start audit found: of the rows that were in the outbox
// when the source was opened and are not known as confirmed, those that did
// not come in the stream. A slot that someone advanced, or made again, loses
// the oldest ones that way, in silence.
type Audit struct {
	Through uint64 // LSN that the stream has passed; all Rows committed before it
	Rows    int64  // how many rows were looked for
	Missing int64  // how many of them the stream did not show
	Partial bool   // a backlog of more than 67 million rows: the newest were not looked for
}

// Missing is an outbox row that the stream did not show.
type Missing struct {
	ID            [16]byte
	Seq           int64
	AggregateType string // NULL reads as empty
	AggregateID   string
	EventType     string
	InsertedAt    time.Time // when its transaction began
}

// ErrNotAudited is what Source.Audit returns when Run ended before the stream had shown all that
// the audit waits for.
var ErrNotAudited = errors.New("the stream ended before the start was audited")

// Audit waits until the stream has passed the WAL position of the opening, and then compares
// what it showed with what is in the outbox. Call it once, beside Run.
//
// look is given the missing rows, up to 50,000 at a time, roughly in the order in which they
// were written. They are no fault yet: they may have been published and confirmed after progress
// was last saved. Whoever can read the topics must look them up. An error of look ends the audit.
func (s *Source) Audit(ctx context.Context, look func(context.Context, []Missing) error) (Audit, error) {
	select {
	case a, ok := <-s.audited:
		if !ok {
			return Audit{}, ErrNotAudited
		}
		conn, err := s.cfg.connectSQL(ctx, "audit")
		if err != nil {
			return Audit{}, err
		}
		defer closeSQL(conn)
		return a.compare(ctx, conn, look)
	case <-ctx.Done():
		return Audit{}, ctx.Err()
	}
}

// audit knows which rows the stream must show, and marks those that it does. It belongs to
// Run's goroutine until the stream has passed through; then to whoever it was given to.
type audit struct {
	base    string // pg_snapshot: what it shows is confirmed
	opened  string // pg_snapshot: what it shows has its commit record below through
	settled int64  // no row up to this seq is looked for
	through uint64
	seen    marks
	result  chan<- *audit
}

// newAudit reads which rows the stream must show. Known as confirmed are those
// visible in the snapshot saved with the progress; before there is any since the slot
// was made, those visible in the slot's, which the bootstrap delivers from the table
// itself; not these where it is only inferred that the bootstrap is over.
//
// A row that was confirmed may be looked for all the same: it may not have been
// visible yet in a snapshot that was taken after its commit record was written.
func newAudit(ctx context.Context, conn *pgx.Conn, cfg settings, rec *record, result chan<- *audit) (*audit, error) {
	saved, err := readSample(ctx, conn, cfg.Pipeline)
	if err != nil {
		return nil, err
	}
	a := &audit{base: saved.snapshot, settled: rec.settledSeq, seen: newMarks(), result: result}
	if !rec.inferred && saved.lsn <= rec.consistentPoint {
		a.base = rec.snapshot
	}
	if err := conn.QueryRow(ctx, `select pg_current_snapshot()::text`).Scan(&a.opened); err != nil {
		return nil, queryFault(err, "read the outbox")
	}
	// Read after the snapshot: what is visible has its commit record before this.
	a.through, err = WALEnd(ctx, conn, false)
	return a, err
}

// passed tells that the stream is at lsn. It returns nil when the audit is done here.
func (a *audit) passed(lsn uint64) *audit {
	if a == nil || lsn < a.through {
		return a
	}
	a.result <- a // holds one, and only one is ever sent
	return nil
}

const (
	// toFollow are the rows that the stream must show, where nobody has deleted them since.
	toFollow = `from runnel.outbox
		where xid >= pg_snapshot_xmin($1::text::pg_snapshot) and not pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
		  and xid < pg_snapshot_xmax($2::text::pg_snapshot) and pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
		  and seq > $3 and seq < $4`

	// Of a block three sums say whether the stream showed just these rows. Where it showed
	// others too, which are confirmed or newer, they differ, and the rows are read.
	sumsQuery = `select seq >> 12, count(*), sum(seq & 4095)::bigint, sum((seq & 4095) * (seq & 4095))::bigint ` +
		toFollow + ` group by 1`

	// Not sorted: there may be millions.
	rowsQuery = `select id, seq, coalesce(aggregate_type, ''), coalesce(aggregate_id, ''), coalesce(event_type, ''), inserted_at ` +
		toFollow + ` and seq >> 12 = any($5)`

	// missingAtOnce bounds what the audit holds in memory, about 10 MB.
	missingAtOnce = 50_000
)

// compare reads the outbox, and gives look what of it the stream did not show.
func (a *audit) compare(ctx context.Context, conn *pgx.Conn, look func(context.Context, []Missing) error) (Audit, error) {
	result := Audit{Through: a.through, Partial: a.seen.full()}
	// The role, or the database, may have a limit that a large outbox exceeds.
	if _, err := conn.Exec(ctx, `set statement_timeout = 0; set lock_timeout = 0`); err != nil {
		return Audit{}, queryFault(err, "prepare the session")
	}
	bounds := []any{a.base, a.opened, a.settled, a.seen.end}
	rows, err := conn.Query(ctx, sumsQuery, bounds...)
	if err != nil {
		return Audit{}, queryFault(err, "read the outbox")
	}
	var differing []int64
	var block int64
	var want sums
	_, err = pgx.ForEachRow(rows, []any{&block, &want.count, &want.seqs, &want.squares}, func() error {
		result.Rows += want.count
		if a.seen.sums(block) != want {
			differing = append(differing, block)
		}
		return nil
	})
	if err != nil {
		return Audit{}, queryFault(err, "read the outbox")
	}
	if len(differing) > 0 {
		result.Missing, err = a.missing(ctx, conn, append(bounds, differing), look)
	}
	return result, err
}

// missing gives look the rows of some blocks that the stream did not show. They are read as
// they are looked up.
func (a *audit) missing(ctx context.Context, conn *pgx.Conn, arguments []any, look func(context.Context, []Missing) error) (n int64, err error) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel() // of rows that are not wanted any more none is waited for
	rows, err := conn.Query(reading, rowsQuery, arguments...)
	if err != nil {
		return 0, queryFault(err, "read the outbox")
	}
	var page []Missing
	var m Missing
	give := func() error {
		n += int64(len(page))
		err := look(ctx, page)
		if page = page[:0]; err != nil {
			cancel()
		}
		return err
	}
	_, err = pgx.ForEachRow(rows, []any{&m.ID, &m.Seq, &m.AggregateType, &m.AggregateID, &m.EventType, &m.InsertedAt}, func() error {
		if a.seen.has(m.Seq) {
			return nil
		}
		if page = append(page, m); len(page) < missingAtOnce {
			return nil
		}
		return give()
	})
	if err != nil {
		return n, queryFault(err, "look for what the stream did not show")
	}
	if len(page) > 0 {
		err = give()
	}
	return n, err
}
