package consumers

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// The ids of passed events tell WaitFor what a position can't on a quiet topic.
//
// Invariants:
//
//  1. An id is written in the transaction that moves the position past its event,
//     whatever its handler made of it, or that removes the event from the parked ones.
//     Both hold the lock on the position's row.
//  2. An event was applied, or given up, if in one snapshot its id is passed and
//     not parked: it leaves table parked in the transaction of its rows.
//  3. An id that was written stays for Config.WaitWindow. Events that were published
//     longer ago when the position passed them are not written: a backlog costs
//     nothing, and WaitFor answers for them by their age.
//  4. Deleting old ids waits for no lock, so that it is part of no deadlock.

// passedSQL starts the time of an id anew that is there already: it was parked,
// and has now been applied.
const passedSQL = `insert into runnel_projections.passed (projection, version, topic, partition, event_id)
	select distinct $1::text, $2::int, $3::text, $4::int, id from unnest($5::uuid[]) id
	on conflict (event_id, projection, version) do update set passed_at = excluded.passed_at`

// queuePassed adds a statement to b that writes ids, if there are any.
func (p *Projection) queuePassed(b *pgx.Batch, of broker.Partition, ids []string) {
	if len(ids) > 0 {
		b.Queue(passedSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index, ids)
	}
}

// passedIDs returns the ids to be written for entries that a transaction passes.
func (p *Projection) passedIDs(entries []entry, fates []fate) (ids []string) {
	if p.cfg.WaitWindow == 0 {
		return nil
	}
	oldest := p.now().Add(-p.cfg.WaitWindow)
	for i, f := range fates {
		if m := &entries[i].Message; f != wasSkipped && f != wasUnknown && f != wasLost && m.PublishedAt.After(oldest) {
			ids = append(ids, m.ID.String())
		}
	}
	return ids
}

// unparkedIDs returns the ids to be written for events that leave table parked,
// however old they are.
func (p *Projection) unparkedIDs(rows []parkedEvent, fates []fate) (ids []string) {
	if p.cfg.WaitWindow == 0 {
		return nil
	}
	for i, f := range fates {
		if f != wasUnknown {
			ids = append(ids, rows[i].ID.String())
		}
	}
	return ids
}

// pruneSQL deletes a bounded number of ids. Of several instances that do it at
// the same time, none waits for another.
const pruneSQL = `delete from runnel_projections.passed where ctid = any (array(
	select ctid from runnel_projections.passed
	where projection = $1 and version = $2 and topic = $3 and partition = $4 and passed_at < now() - make_interval(secs => $5)
	order by passed_at limit $6 for update skip locked))`

// Bounds of how often, and how many, old ids are deleted.
const (
	pruneOften  = time.Second
	pruneSeldom = time.Minute
	pruneLimit  = 1000
)

// pruneEvery is the pause between deletions: a part of the window.
func pruneEvery(window time.Duration) time.Duration {
	return min(max(window/8, pruneOften), pruneSeldom)
}

// prune deletes ids of the partition that are older than the window, if it is
// time, and at most so many that the next event does not wait for long, but more
// than a batch adds. Without a window it deletes what an earlier one left.
func (w *worker) prune(ctx context.Context) {
	if w.pruneAt.IsZero() || w.p.now().Before(w.pruneAt) || ctx.Err() != nil {
		return
	}
	cfg, limit := &w.p.cfg, max(pruneLimit, 2*w.p.cfg.BatchSize)
	tag, err := w.p.db.Exec(ctx, pruneSQL, cfg.Name, cfg.Version, w.partition.Topic, w.partition.Index, cfg.WaitWindow.Seconds(), limit)
	switch {
	case ctx.Err() != nil:
	case err != nil: // nothing depends on it, and applying meets the same database
		w.log.Warn("deleting the ids of events passed long ago failed, trying again", keyError, err)
		w.pruneAt = w.p.now().Add(pruneSeldom)
	case tag.RowsAffected() >= int64(limit): // there are more
	case cfg.WaitWindow == 0:
		w.pruneAt = time.Time{} // no more are added
	default:
		w.pruneAt = w.p.now().Add(pruneEvery(cfg.WaitWindow))
	}
}
