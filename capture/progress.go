package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/position"
)

const (
	progressInterval = time.Second
	// idleInterval is how often progress is saved while nothing is published.
	// Saving writes WAL, so a shorter one would keep an idle database busy.
	idleInterval = time.Minute
	// stepLimit bounds one step, and so how long Run goes on after its context.
	stepLimit = 5 * time.Second
)

// Saved is the progress that the source database holds.
type Saved struct {
	ConfirmedLSN uint64
	Snapshot     string // pg_snapshot: everything visible in it is confirmed
	UpdatedAt    time.Time
	Tails        []PartitionTail
}

// Progress keeps in the source database how far a pipeline got: for retention
// (what may be dropped), for the start audit, and for when a topic's tail was
// trimmed. It belongs to one goroutine.
//
// Make it before Source.Run is called.
//
// Invariants:
//  1. Everything visible in a saved snapshot has a commit LSN below the saved
//     LSN, which is confirmed. A snapshot is therefore taken before the LSN,
//     and saved only when that LSN is confirmed. Both only ever move forward.
//     The converse does not hold: a transaction may stay invisible for long
//     after its commit record is in the WAL (it waits for a standby, say), so
//     one that the snapshot does not show may be confirmed too.
//  2. Nothing is saved once the publication was changed: a row that was left
//     out of the stream would count as confirmed.
type Progress struct {
	cfg    settings
	conn   *pgx.Conn
	sample sample
	tails  savedTails
	last   time.Time // when it was last saved
	first  chan struct{}

	// publication is its state when this was made: the one that Source.Open
	// saw, or Source.Run fails.
	publication string
}

type sample struct {
	since    string // WAL position before the snapshot was taken
	at       time.Time
	snapshot string
	lsn      uint64 // 0: none taken
}

// emptySnapshot shows no transaction: 3 is the first that there can be.
const emptySnapshot = "3:3:"

// readSample reads the sample that was saved last: without one, nothing is known as
// confirmed.
func readSample(ctx context.Context, conn querier, pipeline string) (sample, error) {
	s := sample{since: "0/0", snapshot: emptySnapshot}
	var lsn string
	err := conn.QueryRow(ctx, `select coalesce(sampled_lsn, '0/0')::text, coalesce(sampled_at, updated_at), snapshot::text, confirmed_lsn::text
		from runnel.progress where pipeline = $1 and snapshot is not null`, pipeline).Scan(&s.since, &s.at, &s.snapshot, &lsn)
	if errors.Is(err, pgx.ErrNoRows) {
		return s, nil
	}
	if err != nil {
		return sample{}, queryFault(err, "read the pipeline's progress")
	}
	s.lsn, err = parseLSN(lsn)
	return s, err
}

// NewProgress connects. The tables exist since `runnel init`.
func NewProgress(ctx context.Context, config Config) (*Progress, error) {
	cfg, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	conn, err := cfg.connectSQL(ctx, "progress")
	if err != nil {
		return nil, err
	}
	p := &Progress{cfg: cfg, conn: conn, first: make(chan struct{})}
	if p.publication, err = readPublication(ctx, conn, cfg.Publication); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// Close ends the connection. Call it after Run has returned.
func (p *Progress) Close() { closeSQL(p.conn) }

// Saved is closed once this Progress has saved anything. What the start audit has followed
// is no longer followed by another from then on, if it is confirmed.
func (p *Progress) Saved() <-chan struct{} { return p.first }

// Load reads what is saved; the zero Saved when nothing is.
func (p *Progress) Load(ctx context.Context) (Saved, error) {
	var s Saved
	var lsn string
	err := p.conn.QueryRow(ctx, `select coalesce(confirmed_lsn, '0/0')::text, coalesce(snapshot::text, ''), updated_at
		from runnel.progress where pipeline = $1`, p.cfg.Pipeline).Scan(&lsn, &s.Snapshot, &s.UpdatedAt)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return Saved{}, queryFault(err, "read the pipeline's progress")
	}
	if err == nil {
		if s.ConfirmedLSN, err = parseLSN(lsn); err != nil {
			return Saved{}, err
		}
	}
	rows, err := p.conn.Query(ctx, `select topic, partition, position, ordinal, coalesce(resumed_ordinal, 0), coalesce(resumed_seq, -1), coalesce(resumed_at, '')
		from runnel.progress_partition where pipeline = $1 order by topic, partition`, p.cfg.Pipeline)
	if err != nil {
		return Saved{}, queryFault(err, "read the pipeline's progress")
	}
	var t PartitionTail
	var at, resumedAt string
	var ordinal, resumed int64
	_, err = pgx.ForEachRow(rows, []any{&t.Topic, &t.Partition, &at, &ordinal, &resumed, &t.ResumedSeq, &resumedAt}, func() error {
		where, err := position.Parse(at)
		if err != nil {
			return fmt.Errorf("the saved position of %s, partition %d: %w", t.Topic, t.Partition, err)
		}
		t.Last, t.Resumed = position.Stamp{Position: where, Ordinal: uint64(ordinal)}, uint64(resumed)
		if t.ResumedAt = (position.Position{}); resumedAt != "" {
			if t.ResumedAt, err = position.Parse(resumedAt); err != nil {
				return fmt.Errorf("where the loss of %s, partition %d, was accepted: %w", t.Topic, t.Partition, err)
			}
		}
		s.Tails = append(s.Tails, t)
		return nil
	})
	if err != nil {
		return Saved{}, queryFault(err, "read the pipeline's progress")
	}
	return s, nil
}

// Run saves progress until ctx ends, and once more then if it can. confirmed
// gives the LSN below which every transaction is durable elsewhere; tails the
// partitions' tails, of which only changed ones are written, and none where Config.Held
// has the source write them. Both are called from this goroutine. It ends with
// ErrPublication when the publication was changed since NewProgress.
func (p *Progress) Run(ctx context.Context, confirmed func() uint64, tails func() []PartitionTail) error {
	tick := time.NewTicker(progressInterval)
	defer tick.Stop()
	// A step that ctx's end cut off would take the connection with it, and
	// with that the last save: so it gets a limit of its own.
	step := func() error {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepLimit)
		defer cancel()
		err := p.step(limited, confirmed, tails)
		if err != nil && limited.Err() != nil {
			return ErrUnreachable.Wrap(err, "no answer within %s", stepLimit).At("%s", p.cfg.address())
		}
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return step()
		case <-tick.C:
			if err := step(); err != nil {
				return err
			}
		}
	}
}

func (p *Progress) step(ctx context.Context, confirmed func() uint64, tails func() []PartitionTail) error {
	// After the sample was taken, so that what it shows was written before.
	publication, err := readPublication(ctx, p.conn, p.cfg.Publication)
	if err != nil {
		return err
	}
	if err := unchanged(p.cfg.Publication, p.publication, publication); err != nil {
		return err
	}
	if p.sample.lsn != 0 && confirmed() >= p.sample.lsn {
		changed := p.tails.changed(tails())
		if len(changed) > 0 || time.Since(p.last) >= idleInterval {
			if err := p.save(ctx, changed); err != nil {
				return err
			}
		}
		p.sample.lsn = 0
	}
	if p.sample.lsn == 0 {
		return p.take(ctx)
	}
	return nil
}

// take samples. What begins after the snapshot commits at or above since. In one statement, the snapshot is taken before the functions
// of its list are called; a transaction becomes visible only after its commit
// record is in the WAL, maybe long after. So what the snapshot shows committed
// below the LSN, but not all that committed below it is shown.
func (p *Progress) take(ctx context.Context) error {
	err := p.conn.QueryRow(ctx, `select pg_current_wal_insert_lsn()::text, clock_timestamp()`).Scan(&p.sample.since, &p.sample.at)
	if err != nil {
		return queryFault(err, "read the WAL position")
	}
	var lsn string
	err = p.conn.QueryRow(ctx, `select pg_current_snapshot()::text, pg_current_wal_insert_lsn()::text`).
		Scan(&p.sample.snapshot, &lsn)
	if err != nil {
		return queryFault(err, "read the WAL position")
	}
	p.sample.lsn, err = parseLSN(lsn)
	p.sample.lsn = recordStart(p.sample.lsn)
	return err
}

func (p *Progress) save(ctx context.Context, changed []PartitionTail) error {
	batch := &pgx.Batch{}
	batch.Queue(`insert into runnel.progress (pipeline, confirmed_lsn, snapshot, updated_at, sampled_lsn, sampled_at)
		values ($1, $2::text::pg_lsn, $3::text::pg_snapshot, now(), $4::text::pg_lsn, $5)
		on conflict (pipeline) do update set confirmed_lsn = excluded.confirmed_lsn,
			snapshot = excluded.snapshot, updated_at = excluded.updated_at,
			sampled_lsn = excluded.sampled_lsn, sampled_at = excluded.sampled_at
		where runnel.progress.confirmed_lsn <= excluded.confirmed_lsn`,
		p.cfg.Pipeline, pglogrepl.LSN(p.sample.lsn).String(), p.sample.snapshot, p.sample.since, p.sample.at)
	// What is confirmed beyond the slot's beginning holds the rows from before
	// it. Where Open inferred that, this is what settles it: see ensureSlot. The limit is
	// beyond it once the partitions' tails are saved, if these are.
	batch.Queue(`update runnel.pipeline set snapshot_done = true
		where name = $1 and not snapshot_done and consistent_point < $2::text::pg_lsn
		  and coalesce(slot_limit > consistent_point, true)`,
		p.cfg.Pipeline, pglogrepl.LSN(p.sample.lsn).String())
	if p.cfg.Held == nil {
		queueTails(batch, p.cfg.Pipeline, changed)
	}
	// A batch is one transaction.
	if err := p.conn.SendBatch(ctx, batch).Close(); err != nil {
		return queryFault(err, "save the pipeline's progress")
	}
	p.tails.saved(changed)
	if p.last.IsZero() {
		close(p.first)
	}
	p.last = time.Now()
	return nil
}
