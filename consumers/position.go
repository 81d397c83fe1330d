package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

const (
	lockSQL = `select position, ordinal, parked, state from runnel_projections.position
		where projection = $1 and version = $2 and topic = $3 and partition = $4 for update`
	// The lock on the version's row keeps a swap from missing the new row.
	insertSQL = `insert into runnel_projections.position (projection, version, topic, partition, position, ordinal, state)
		select name, version, $3, $4, $5, 0, state from runnel_projections.projection
		where name = $1 and version = $2 for share on conflict do nothing`
	moveSQL = `update runnel_projections.position set position = $5, ordinal = $6, message_id = $7, parked = parked + $8,
		updated_at = clock_timestamp() where projection = $1 and version = $2 and topic = $3 and partition = $4`
)

// partitionRow is what the database knows of a partition.
type partitionRow struct {
	position.Stamp
	parked int64 // number of events put aside
	state  copyState
}

// lock takes the position row of a partition for this transaction and returns
// what it holds. Whoever held it before has committed or rolled back by then.
// guess is the state that the copy had last; unqualified names lead to its
// schema afterwards, or to another one if it has another state now.
func (p *Projection) lock(ctx context.Context, tx pgx.Tx, of broker.Partition, guess copyState) (held partitionRow, err error) {
	path, idle := p.settings(guess)
	scan := func(row pgx.Row) error {
		var text string
		var ordinal int64
		err := row.Scan(&text, &ordinal, &held.parked, &held.state)
		if err == nil {
			held.Position, err = position.Parse(text)
			held.Ordinal = uint64(ordinal)
		}
		return err
	}
	var batch pgx.Batch
	batch.Queue(settingsSQL, path, idle)
	batch.Queue(lockSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index).QueryRow(scan)
	err = tx.SendBatch(ctx, &batch).Close()
	if errors.Is(err, pgx.ErrNoRows) { // the first event ever of this partition
		if err = p.insert(ctx, tx, of); err != nil {
			return held, err
		}
		err = scan(tx.QueryRow(ctx, lockSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index))
		if errors.Is(err, pgx.ErrNoRows) {
			return held, p.removed()
		}
	}
	switch {
	case err != nil:
		return held, err
	case held.state == old:
		return held, p.replaced()
	case held.state != guess:
		return held, p.enter(ctx, tx, held.state)
	}
	return held, nil
}

// insert makes the position row of a partition, unless there is one.
func (p *Projection) insert(ctx context.Context, tx pgx.Tx, of broker.Partition) error {
	_, err := tx.Exec(ctx, insertSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index, Position{}.String())
	return err
}

// move stores the position of the last event that the transaction covers, with
// the ids that it passed, the types it had no handler for and what was lost, and counts
// the events that it parked.
func (p *Projection) move(ctx context.Context, tx pgx.Tx, of broker.Partition, to position.Stamp, id broker.MessageID, parked int, passed, unhandled []string, lost []lostRow) error {
	var batch pgx.Batch
	p.queuePassed(&batch, of, passed)
	p.queueUnhandled(&batch, of.Topic, unhandled)
	p.queueLost(&batch, of, lost)
	batch.Queue(moveSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index, to.Position.String(), int64(to.Ordinal), id.String(), parked).
		Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() != 1 {
				return errors.New("the position row vanished while it was locked")
			}
			return nil
		})
	return tx.SendBatch(ctx, &batch).Close()
}

// reached returns where the last message that a partition's position covers lies in
// the topic, if there was one. It fails with ErrVersion or ErrTables when this
// version was replaced or removed: an instance whose topics are quiet learns it here.
func (p *Projection) reached(ctx context.Context, of broker.Partition) (id broker.MessageID, found bool, err error) {
	var text string
	var state copyState
	err = p.db.QueryRow(ctx, `select v.state, coalesce(p.message_id, '') from runnel_projections.projection v
		left join runnel_projections.position p on p.projection = v.name and p.version = v.version and topic = $3 and partition = $4
		where v.name = $1 and v.version = $2`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index).Scan(&state, &text)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return id, false, p.removed()
	case err != nil:
		return id, false, err
	case state == old:
		return id, false, p.replaced()
	case text == "":
		return id, false, nil
	}
	id, err = broker.ParseMessageID(text)
	return id, err == nil, err
}

func (p *Projection) removed() error {
	return ErrTables.New("projection %s, version %d, was removed from the database while it ran", p.cfg.Name, p.cfg.Version)
}

func (p *Projection) replaced() error {
	return ErrVersion.New("a later version of projection %s has taken the place of version %d", p.cfg.Name, p.cfg.Version)
}

// Querier is what Positions needs: a *pgxpool.Pool, *pgx.Conn or pgx.Tx.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// PartitionPosition says up to where a projection has applied a partition.
type PartitionPosition struct {
	Version   int    // of the projection
	Topic     string // full name
	Partition int
	Position  Position
	Ordinal   uint64 // number of the partition's events that were passed
	UpdatedAt time.Time
}

// Positions reads a projection's positions, one per partition that had an
// event, from the projection's database. It works from any process. Where no
// projection ever ran there are none.
func Positions(ctx context.Context, db Querier, projection string) ([]PartitionPosition, error) {
	rows, err := db.Query(ctx, "select to_regclass('runnel_projections.position') is not null")
	if err != nil {
		return nil, fmt.Errorf("reading positions: %w", err)
	}
	if made, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool]); err != nil || !made {
		return nil, err
	}
	rows, err = db.Query(ctx, `select version, topic, partition, position, ordinal, updated_at
		from runnel_projections.position where projection = $1 order by version, topic, partition`, projection)
	if err != nil {
		return nil, fmt.Errorf("reading positions: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (PartitionPosition, error) {
		var r PartitionPosition
		var text string
		var ordinal int64
		err := row.Scan(&r.Version, &r.Topic, &r.Partition, &text, &ordinal, &r.UpdatedAt)
		if err == nil {
			r.Position, err = position.Parse(text)
			r.Ordinal = uint64(ordinal)
		}
		return r, err
	})
}
