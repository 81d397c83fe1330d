package capture

import (
	"context"
	"errors"
	"math"
	"math/bits"
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
// look is given the missing rows, up to 50,000 at a time, in the order of their transactions.
// They are no fault yet: they may have been published and confirmed after progress was last
// saved. Whoever can read the topics must look them up. An error of look ends the audit.
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
	atOnce  int // rows of a page
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
	a := &audit{base: saved.snapshot, settled: rec.settledSeq, seen: newMarks(), atOnce: missingAtOnce, result: result}
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

	// wordsQuery reads their seqs as marks has them, a word for 64.
	wordsQuery = `select seq >> 6, bit_or(1::bigint << (seq & 63)::int) ` + toFollow + ` group by 1`

	// rowsQuery reads some of them behind a place, by the order of their transactions, which
	// roughly is the one in which they were published. "Is true" keeps Postgres from making a join
	// of the list, for which it would read and sort all rows for each page: it is hashed, and the
	// index is followed until there are enough. Outbox.xid is no text, which the output's xid is.
	rowsQuery = `select xid::text, id, seq, coalesce(aggregate_type, ''), coalesce(aggregate_id, ''), coalesce(event_type, ''), inserted_at ` +
		toFollow + ` and (seq >> 6 in (select unnest($5::bigint[]))) is true and xid >= $6::text::xid8 and (xid > $6::text::xid8 or seq > $7) order by outbox.xid, seq limit $8`

	// missingAtOnce bounds what the audit holds of rows in memory: about 10 MB. Besides it has
	// their words, 8 bytes for up to 64 rows.
	missingAtOnce = 50_000
)

// compare reads the outbox, and gives look what of it the stream did not show. While look is at
// work no statement is under way: its lock would hold up housekeeping, and that all writers.
func (a *audit) compare(ctx context.Context, conn *pgx.Conn, look func(context.Context, []Missing) error) (Audit, error) {
	result := Audit{Through: a.through, Partial: a.seen.full()}
	if err := prepareLong(ctx, conn); err != nil {
		return Audit{}, err
	}
	bounds := []any{a.base, a.opened, a.settled, a.seen.end}
	rows, err := conn.Query(ctx, wordsQuery, bounds...)
	if err != nil {
		return Audit{}, queryFault(err, "read the outbox")
	}
	var lacking []int64
	var number, word int64
	_, err = pgx.ForEachRow(rows, []any{&number, &word}, func() error {
		result.Rows += int64(bits.OnesCount64(uint64(word)))
		if uint64(word)&^a.seen.word(number) != 0 {
			lacking = append(lacking, number)
		}
		return nil
	})
	if err != nil {
		return Audit{}, queryFault(err, "read the outbox")
	}
	last := place{xid: "0", seq: math.MinInt64}
	for more := len(lacking) > 0; more; {
		var page []Missing
		if page, more, err = a.missing(ctx, conn, append(bounds[:4:4], lacking), &last); err != nil {
			return result, err
		}
		result.Missing += int64(len(page))
		if len(page) > 0 {
			if err := look(ctx, page); err != nil {
				return result, err
			}
		}
	}
	return result, nil
}

// prepareLong takes away limits that the role or the database may have, and that a large outbox
// exceeds; and asks for no more of the server than one process.
func prepareLong(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `select set_config(name, '0', false) from pg_settings where name in ('statement_timeout', 'lock_timeout',
		'idle_session_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout', 'max_parallel_workers_per_gather')`)
	if err == nil {
		_, err = conn.Exec(ctx, `set work_mem = '64MB'`)
	}
	if err != nil {
		return queryFault(err, "prepare the session")
	}
	return nil
}

// place is that of a row in the order of rowsQuery.
type place struct {
	xid string
	seq int64
}

// missing reads some of the rows whose words lack something, and returns those that the stream
// did not show. more is false behind the last.
func (a *audit) missing(ctx context.Context, conn *pgx.Conn, arguments []any, last *place) (page []Missing, more bool, err error) {
	rows, err := conn.Query(ctx, rowsQuery, append(arguments, last.xid, last.seq, a.atOnce)...)
	if err != nil {
		return nil, false, queryFault(err, "read the outbox")
	}
	read := 0
	var m Missing
	_, err = pgx.ForEachRow(rows, []any{&last.xid, &m.ID, &m.Seq, &m.AggregateType, &m.AggregateID, &m.EventType, &m.InsertedAt}, func() error {
		read++
		last.seq = m.Seq
		if !a.seen.has(m.Seq) {
			page = append(page, m)
		}
		return nil
	})
	if err != nil {
		return nil, false, queryFault(err, "read the outbox")
	}
	return page, read == a.atOnce, nil
}
