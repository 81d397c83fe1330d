package capture

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/position"
)

// Damage says why the slot must be repaired; nil when it need not. Only a source opened
// with Config.Repair has one.
func (s *Source) Damage() error { return s.damage }

// Repair compares the rows that the outbox retains with what was published, and makes
// those that are in no topic the rows from before a new slot. It is one transaction of
// the source's, and belongs to one goroutine.
//
//	Compare or Remake; Strike what each topic holds; Missing; Commit or Close
//
// Invariants:
//  1. Every row that the pipeline's next run does not stream, and that is not known as
//     confirmed, is a candidate: what commits at or above the new slot's consistent
//     point is streamed, all else is visible in its snapshot, which the transaction sees.
//  2. From before the old slot is dropped until Commit, the record says that a repair is
//     under way: nothing is published from a slot whose rows from before are not known.
//  3. The rows get positions just below the new slot's consistent point, in order of seq:
//     after everything that was published, before everything that will be streamed.
type Repair struct {
	s        *Source
	tx       pgx.Tx
	saved    sample
	point    uint64 // of the new slot; 0: none was made
	snapshot string // that the transaction sees: the new slot's
	before   int64  // of a database that has moved: the greatest seq from before the slot was made
}

// Compare compares without making a slot. Nothing of it can be committed.
func (s *Source) Compare(ctx context.Context) (*Repair, error) {
	r := &Repair{s: s}
	return r, r.begin(ctx, "")
}

// Remake drops what is left of the slot, makes it anew and compares. It waits for every
// running transaction of the cluster.
func (s *Source) Remake(ctx context.Context) (*Repair, error) {
	if s.damage == nil {
		return nil, errors.New("capture: the slot needs no repair")
	}
	if err := s.recordDamage(ctx, damageRepair); err != nil {
		return nil, err
	}
	failpoint.Hit("capture.repair.begun")
	if err := s.dropUseless(ctx); err != nil {
		return nil, err
	}
	failpoint.Hit("capture.repair.dropped")
	r := &Repair{s: s}
	if s.Moved() {
		// Whoever drew a lower seq and has not committed by now runs, so that the slot awaits its
		// end; unless it has no xid yet: a few columns' defaults later it has.
		if err := s.sql.QueryRow(ctx, `select coalesce(max(seq), 0) from runnel.outbox`).Scan(&r.before); err != nil {
			return nil, queryFault(err, "read the outbox")
		}
	}
	point, exported, err := s.makeSlot(ctx)
	if err != nil {
		return nil, err
	}
	r.point = point
	failpoint.Hit("capture.repair.made")
	return r, r.begin(ctx, exported)
}

// recordDamage records why the slot must be repaired.
func (s *Source) recordDamage(ctx context.Context, damage string) error {
	s.sqlMu.Lock()
	defer s.sqlMu.Unlock()
	err := pgx.BeginFunc(ctx, s.sql, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `set local synchronous_commit = on`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `insert into runnel.pipeline (name, slot, system_id, damage) values ($1, $2, $3, $4)
			on conflict (name) do update set damage = excluded.damage`, s.cfg.Pipeline, s.cfg.Slot, s.systemID, damage)
		return err
	})
	if err != nil {
		return queryFault(err, "record that the slot must be repaired")
	}
	return nil
}

// RecordGap records that the stream did not show what it should have: nothing is
// published until the slot is repaired, also by another process.
func (s *Source) RecordGap(ctx context.Context) error { return s.recordDamage(ctx, damageGap) }

// dropUseless drops the slot, and the one that was recorded, as far as they are the
// pipeline's.
func (s *Source) dropUseless(ctx context.Context) error {
	names := []string{s.cfg.Slot}
	if s.rec != nil && s.rec.slot != s.cfg.Slot {
		names = append(names, s.rec.slot)
	}
	for _, name := range names {
		st, err := ReadSlot(ctx, s.sql, name)
		if err != nil {
			return err
		}
		switch {
		case !st.Exists || st.CheckOwner(s.database) != nil:
			continue
		case st.Active:
			return s.busy(ctx, nil)
		}
		if err := s.dropSlot(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// longSettled is how much older than the saved progress a row must be for it to count as
// one that came with a moved database. It must exceed what clocks of two servers differ by,
// and be less than what topics keep.
const longSettled = time.Hour

// begin notes the candidates: what an exported snapshot shows, or what there is now, and
// is not known as confirmed.
//
// The progress of a database that has moved, and the xids of the rows that came with it,
// are the former server's. They say nothing of rows that were written since, whose xids
// begin anew; but a row that is much older than the progress is none of these. Without
// that, what the topics' retention has taken since would be published once more. So would
// rows that came with it at an earlier time, up to settledSeq. The repair of that time has
// settled which of these are missing: what it has noted, until that is confirmed, or progress
// is saved (Commit forgets what was saved before).
func (r *Repair) begin(ctx context.Context, exported string) (err error) {
	if r.tx, r.snapshot, err = r.s.see(ctx, exported); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.Close(ctx)
		}
	}()
	if r.saved, err = readSample(ctx, r.tx, r.s.cfg.Pipeline); err != nil {
		return err
	}
	came, old, known := emptySnapshot, time.Time{}, !r.saved.at.IsZero()
	if r.s.Moved() {
		came, old = r.saved.snapshot, r.saved.at.Add(-longSettled)
		r.saved = sample{since: "0/0", snapshot: emptySnapshot}
	}
	settled := r.settled()
	if _, err := r.tx.Exec(ctx, `delete from runnel.repair_row where pipeline = $1 and (seq > $2 or $3)`, r.s.cfg.Pipeline, settled, known); err != nil {
		return queryFault(err, "note what may be missing")
	}
	// An event that was parked and retried has several rows, of which the last is to be published.
	_, err = r.tx.Exec(ctx, `insert into runnel.repair_row (pipeline, seq, id, inserted_at, early)
		select distinct on (id) $1, seq, id, inserted_at, xid < pg_snapshot_xmax($2::text::pg_snapshot)
		from runnel.outbox
		where xid >= pg_snapshot_xmin($2::text::pg_snapshot) and not pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
		  and seq > $3
		  and not (inserted_at < $5 and pg_visible_in_snapshot(xid, $4::text::pg_snapshot))
		order by id, seq desc`,
		r.s.cfg.Pipeline, r.saved.snapshot, settled, came, old)
	if err == nil {
		_, err = r.tx.Exec(ctx, `delete from runnel.repair_row where pipeline = $1 and seq <= $2
			and id in (select id from runnel.repair_row where pipeline = $1 and seq > $2)`, r.s.cfg.Pipeline, settled)
	}
	if err != nil {
		return queryFault(err, "note what may be missing")
	}
	return nil
}

// settled is the seq up to which rows came with a moved database: their xids are another
// server's, and they may have been published at any time.
func (r *Repair) settled() int64 {
	if r.s.rec == nil {
		return 0
	}
	return r.s.rec.settledSeq
}

// Floor returns a position such that no candidate but an early one was published below it.
func (r *Repair) Floor() (position.Position, error) {
	lsn, err := parseLSN(r.saved.since)
	if err != nil || lsn == 0 {
		return position.Position{}, err
	}
	return r.s.At(recordStart(lsn)), nil
}

// EarlyLeft reports whether candidates are left that may have been published below
// the floor.
func (r *Repair) EarlyLeft(ctx context.Context) (left bool, err error) {
	err = r.tx.QueryRow(ctx, `select exists (select from runnel.repair_row where pipeline = $1 and (early or seq <= $2))`, r.s.cfg.Pipeline, r.settled()).Scan(&left)
	if err != nil {
		return false, queryFault(err, "look for what is missing")
	}
	return left, nil
}

// Strike takes events that are in a topic off the candidates.
func (r *Repair) Strike(ctx context.Context, ids [][16]byte) error {
	// The pipeline is no column to the planner here: the table was filled just now and has no
	// statistics, so it would take the primary key, and read all of it for each of these.
	if _, err := r.tx.Exec(ctx, `delete from runnel.repair_row where id = any($2) and pipeline || '' = $1`, r.s.cfg.Pipeline, ids); err != nil {
		return queryFault(err, "note what was published")
	}
	return nil
}

// Span is what is missing.
type Span struct {
	Count  int64
	Oldest time.Time // when the transactions of the missing rows began; zero without any
	Newest time.Time
	First  []Missing // in order of seq
}

// Retained is what a repair can build on.
type Retained struct {
	// Complete is when the progress was saved: every transaction that had ended by then is
	// known as published. Zero: none is.
	Complete time.Time
	// Uncovered are the times since then of which the outbox has no partition any more:
	// whether rows of then were published is not known.
	Uncovered []Interval
}

// Interval is a time from From on, before To.
type Interval struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// Missing returns what is left of the candidates, and the first limit of them.
func (r *Repair) Missing(ctx context.Context, limit int) (Span, error) {
	var span Span
	var oldest, newest *time.Time
	err := r.tx.QueryRow(ctx, `select count(*), min(inserted_at), max(inserted_at) from runnel.repair_row where pipeline = $1`, r.s.cfg.Pipeline).
		Scan(&span.Count, &oldest, &newest)
	if err != nil {
		return Span{}, queryFault(err, "count what is missing")
	}
	if oldest != nil {
		span.Oldest, span.Newest = *oldest, *newest
	}
	rows, err := r.tx.Query(ctx, `select o.id, o.seq, o.aggregate_type, o.aggregate_id, o.event_type
		from (select seq, inserted_at from runnel.repair_row where pipeline = $1 order by seq limit $2) m
		join runnel.outbox o using (seq, inserted_at) order by o.seq`, r.s.cfg.Pipeline, limit)
	if err != nil {
		return Span{}, queryFault(err, "read what is missing")
	}
	var m Missing
	_, err = pgx.ForEachRow(rows, []any{&m.ID, &m.Seq, &m.AggregateType, &m.AggregateID, &m.EventType}, func() error {
		span.First = append(span.First, m)
		return nil
	})
	if err != nil {
		return Span{}, queryFault(err, "read what is missing")
	}
	return span, nil
}

// Retained returns what a repair can build on. Partitions are made for every day; rows of
// after the last one are in the default partition.
func (s *Source) Retained(ctx context.Context) (Retained, error) {
	saved, err := readSample(ctx, s.sql, s.cfg.Pipeline)
	if err != nil {
		return Retained{}, err
	}
	r := Retained{Complete: saved.at}
	if s.Moved() {
		r.Complete = time.Time{}
	}
	since := saved.at
	if since.IsZero() && s.rec != nil {
		since = s.rec.created
	}
	if since.IsZero() {
		return r, nil
	}
	rows, err := s.sql.Query(ctx, `select lower, upper from runnel.partitions() where not is_default and upper > $1 order by lower`, since)
	if err != nil {
		return Retained{}, queryFault(err, "read the outbox' partitions")
	}
	var lower, upper time.Time
	_, err = pgx.ForEachRow(rows, []any{&lower, &upper}, func() error {
		if lower.After(since) {
			r.Uncovered = append(r.Uncovered, Interval{since, lower})
		}
		since = upper
		return nil
	})
	if err != nil {
		return Retained{}, queryFault(err, "read the outbox' partitions")
	}
	return r, nil
}

// Commit records the new slot, with what is missing as the rows from before it. The
// next run publishes them first.
func (r *Repair) Commit(ctx context.Context) error {
	s := r.s
	if r.point == 0 {
		return errors.New("capture: Commit of a comparison")
	}
	failpoint.Hit("capture.repair.compared")
	point := pglogrepl.LSN(r.point).String()
	_, err := r.tx.Exec(ctx, `set local synchronous_commit = on`)
	if err == nil {
		_, err = r.tx.Exec(ctx, `update runnel.pipeline set slot = $2, system_id = $3, consistent_point = $4::text::pg_lsn,
			snapshot = $5::text::pg_snapshot, snapshot_done = false, settled_epoch = $6, slot_limit = $4::text::pg_lsn,
			damage = null, repaired_at = now() where name = $1`,
			s.cfg.Pipeline, s.cfg.Slot, s.systemID, point, r.snapshot, int32(s.eras.newest().Epoch))
	}
	if err == nil && s.Moved() {
		_, err = r.tx.Exec(ctx, `update runnel.pipeline set settled_seq = $2 where name = $1`, s.cfg.Pipeline, r.before)
	}
	if err == nil && s.Moved() { // in the LSNs and xids of another server
		_, err = r.tx.Exec(ctx, `update runnel.progress set confirmed_lsn = '0/0', snapshot = null, sampled_lsn = null, sampled_at = null where pipeline = $1`, s.cfg.Pipeline)
	}
	if err == nil {
		err = r.tx.Commit(ctx)
	}
	if err != nil {
		return queryFault(err, "record the repaired slot")
	}
	r.tx = nil
	failpoint.Hit("capture.repair.done")
	s.damage = nil
	s.cfg.Logger.Info("made the slot anew", keySlot, s.cfg.Slot, keyLSN, point)
	return nil
}

// Close gives up what is not committed. It is idempotent.
func (r *Repair) Close(ctx context.Context) {
	if r.tx == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
	defer cancel()
	_ = r.tx.Rollback(ctx) // the connection ends with the source
	r.tx = nil
}

// repairQuery selects the rows that a repair found missing: all from before the slot
// that are to be published.
const repairQuery = `select o.seq, o.id, o.aggregate_type, o.aggregate_id, o.event_type, o.encoding, o.fingerprint, o.payload, o.headers, o.occurred_at
	from runnel.repair_row r join runnel.outbox o on o.seq = r.seq and o.id = r.id and o.inserted_at = r.inserted_at
	where r.pipeline = $1 order by r.seq`

// fromBefore returns the query of the rows from before the slot, with its parameter.
func (s *Source) fromBefore() (query, parameter string) {
	if s.rec.repaired.IsZero() {
		return snapshotQuery, s.rec.snapshot
	}
	return repairQuery, s.cfg.Pipeline
}

// began is when the slot was made.
func (r *record) began() time.Time {
	if r.repaired.IsZero() {
		return r.created
	}
	return r.repaired
}
