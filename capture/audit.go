package capture

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// Audit is what the start audit found: of the rows that were in the outbox
// when the source was opened and are not known as confirmed, those that did
// not come in the stream. A slot that someone advanced, or made again, loses
// the oldest ones that way, in silence.
//
// A missing row is no fault yet: it may have been published and confirmed
// after progress was last saved. Whoever can read the topics must look it up.
type Audit struct {
	Through   uint64    // LSN that the stream has passed; all Rows committed before it
	Rows      int       // how many rows were followed
	Truncated bool      // there were more than Config.AuditLimit
	Missing   []Missing // in order of Seq
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

// Audited gives the result of the audit once, when the stream has passed the
// WAL position of the opening, and is closed when Run ends.
func (s *Source) Audited() <-chan Audit { return s.audited }

// audit strikes off rows as the stream shows them. A nil audit is done.
type audit struct {
	rows      []Missing
	pending   map[[16]byte]struct{}
	through   uint64
	truncated bool
	result    chan<- Audit
}

// readAudit reads which rows the stream must show. Known as confirmed are those
// visible in the snapshot saved with the progress; before there is any since the slot
// was made, those visible in the slot's, which the bootstrap delivers from the table
// itself; not these where it is only inferred that the bootstrap is over.
//
// A row that was confirmed may be followed all the same: it may not have been
// visible yet in a snapshot that was taken after its commit record was written.
func readAudit(ctx context.Context, conn *pgx.Conn, cfg settings, rec *record) (*audit, error) {
	if cfg.AuditLimit < 0 {
		return nil, nil
	}
	saved, err := readSample(ctx, conn, cfg.Pipeline)
	if err != nil {
		return nil, err
	}
	base := saved.snapshot
	if !rec.inferred && saved.lsn <= rec.consistentPoint {
		base = rec.snapshot
	}
	rows, err := conn.Query(ctx, `select id, seq, coalesce(aggregate_type, ''), coalesce(aggregate_id, ''), coalesce(event_type, ''), inserted_at
		from runnel.outbox
		where xid >= pg_snapshot_xmin($1::text::pg_snapshot) and not pg_visible_in_snapshot(xid, $1::text::pg_snapshot) and seq > $3
		order by seq limit $2`, base, cfg.AuditLimit+1, rec.settledSeq)
	if err != nil {
		return nil, queryFault(err, "read the outbox")
	}
	a := &audit{pending: make(map[[16]byte]struct{})}
	var m Missing
	types := make(map[string]string) // each in memory once: of few kinds there are many
	once := func(s *string) {
		if known, ok := types[*s]; ok {
			*s = known
		} else if len(types) < 1000 {
			types[*s] = *s
		}
	}
	_, err = pgx.ForEachRow(rows, []any{&m.ID, &m.Seq, &m.AggregateType, &m.AggregateID, &m.EventType, &m.InsertedAt}, func() error {
		once(&m.AggregateType)
		once(&m.EventType)
		a.rows = append(a.rows, m)
		return nil
	})
	if err != nil {
		return nil, queryFault(err, "read the outbox")
	}
	if len(a.rows) > cfg.AuditLimit {
		a.rows, a.truncated = a.rows[:cfg.AuditLimit], true
	}
	for i := range a.rows {
		a.pending[a.rows[i].ID] = struct{}{}
	}
	// Read after the rows: what is visible has its commit record before this.
	a.through, err = WALEnd(ctx, conn, false)
	return a, err
}

// report sets where the result goes. Without rows there is nothing to wait for.
func (a *audit) report(result chan<- Audit) *audit {
	if a == nil {
		result <- Audit{}
		return nil
	}
	a.result = result
	if len(a.rows) == 0 {
		return a.passed(a.through)
	}
	return a
}

func (a *audit) strike(id [16]byte) { delete(a.pending, id) }

// passed tells that the stream is at lsn. It returns nil when the audit is done.
func (a *audit) passed(lsn uint64) *audit {
	if a == nil || lsn < a.through {
		return a
	}
	r := Audit{Through: a.through, Rows: len(a.rows), Truncated: a.truncated}
	for _, m := range a.rows {
		if _, ok := a.pending[m.ID]; ok {
			r.Missing = append(r.Missing, m)
		}
	}
	a.result <- r // holds one, and only one is ever sent
	return nil
}
