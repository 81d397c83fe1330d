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
	lockSQL = `select position, ordinal, parked from runnel_projections.position
		where projection = $1 and version = $2 and topic = $3 and partition = $4 for update`
	insertSQL = `insert into runnel_projections.position (projection, version, topic, partition, position, ordinal)
		values ($1, $2, $3, $4, $5, 0) on conflict do nothing`
	moveSQL = `update runnel_projections.position set position = $5, ordinal = $6, message_id = $7, parked = parked + $8,
		updated_at = clock_timestamp() where projection = $1 and version = $2 and topic = $3 and partition = $4`
)

// lock takes the position row of a partition for this transaction and returns
// what it holds, and how many events are parked. Whoever held it before has
// committed or rolled back by then.
func (p *Projection) lock(ctx context.Context, tx pgx.Tx, of broker.Partition) (stored position.Stamp, parked int64, err error) {
	path, idle := p.settings()
	scan := func(row pgx.Row) error {
		var text string
		var ordinal int64
		err := row.Scan(&text, &ordinal, &parked)
		if err == nil {
			stored.Position, err = position.Parse(text)
			stored.Ordinal = uint64(ordinal)
		}
		return err
	}
	var batch pgx.Batch
	batch.Queue(settingsSQL, path, idle)
	batch.Queue(lockSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index).QueryRow(scan)
	if err := tx.SendBatch(ctx, &batch).Close(); !errors.Is(err, pgx.ErrNoRows) {
		return stored, parked, err
	}
	// The first event ever of this partition.
	if _, err := tx.Exec(ctx, insertSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index, Position{}.String()); err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code == "23503" {
			return stored, 0, ErrTables.New("projection %s, version %d, was removed from the database while it ran", p.cfg.Name, p.cfg.Version)
		}
		return stored, 0, err
	}
	err = scan(tx.QueryRow(ctx, lockSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index))
	return stored, parked, err
}

// move stores the position of the last event that the transaction covers, and
// counts the events that it parked.
func (p *Projection) move(ctx context.Context, tx pgx.Tx, of broker.Partition, to position.Stamp, id broker.MessageID, parked int) error {
	tag, err := tx.Exec(ctx, moveSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index, to.Position.String(), int64(to.Ordinal), id.String(), parked)
	if err == nil && tag.RowsAffected() != 1 {
		return errors.New("the position row vanished while it was locked")
	}
	return err
}

// reached returns where the last message that a partition's position covers
// lies in the topic, if there was one.
func (p *Projection) reached(ctx context.Context, of broker.Partition) (id broker.MessageID, found bool, err error) {
	var text string
	err = p.db.QueryRow(ctx, `select message_id from runnel_projections.position
		where projection = $1 and version = $2 and topic = $3 and partition = $4`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index).Scan(&text)
	if errors.Is(err, pgx.ErrNoRows) || (err == nil && text == "") {
		return id, false, nil
	}
	if err == nil {
		id, err = broker.ParseMessageID(text)
	}
	return id, err == nil, err
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
