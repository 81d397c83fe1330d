package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/position"
)

// States of a parked event. Of the events of one key, in the order of their
// ordinals, the first is retrying or parked and all others are behind.
const (
	stateRetrying = "retrying" // is tried again when its time has come
	stateParked   = "parked"   // waits for a person
	stateBehind   = "behind"   // waits for an earlier event of its key
)

// parkedEvent is a message that was put aside: a row of the table parked.
type parkedEvent struct {
	Message
	state   string
	tries   int
	cause   error     // why; nil: behind another
	nextTry time.Time // of a retrying one
}

// errorBytes bounds the text of an error that is kept.
const errorBytes = 2000

const parkSQL = `insert into runnel_projections.parked (projection, version, topic, partition, ordinal, position, key,
	event_id, event_type, occurred_at, published_at, headers, schema_version, payload, state, tries, error_code, error, parked_at, next_try, catching_up)
	values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)`

// park keeps messages beside the copy, in the transaction that moves the position
// past them.
func (p *Projection) park(ctx context.Context, tx pgx.Tx, of broker.Partition, rows []parkedEvent) error {
	var batch pgx.Batch
	for i := range rows {
		r := &rows[i]
		headers, err := json.Marshal(r.Headers)
		if err != nil {
			return err
		}
		code, text := describeCause(r.cause)
		batch.Queue(parkSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index, int64(r.Ordinal), r.Position.String(), r.AggregateID,
			r.ID, r.Type, r.OccurredAt, r.PublishedAt, headers, r.schema, r.payload, r.state, r.tries, code, text, p.now(), nullTime(r.nextTry), r.CatchingUp)
	}
	return tx.SendBatch(ctx, &batch).Close()
}

// describeCause returns an error's code, if it has one, and its text, as Postgres
// can hold them.
func describeCause(err error) (code, text string) {
	if err == nil {
		return "", ""
	}
	if f := fault.Find(err); f != nil {
		code = f.Code.ID
	}
	text = strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\x00", ""), "")
	return code, strings.ToValidUTF8(text[:min(len(text), errorBytes)], "")
}

func nullTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// blocked returns those of keys that have a parked event. The position's row is
// locked.
func (p *Projection) blocked(ctx context.Context, tx pgx.Tx, of broker.Partition, keys []string) (map[string]bool, error) {
	rows, _ := tx.Query(ctx, `select distinct key from runnel_projections.parked
		where projection = $1 and version = $2 and topic = $3 and partition = $4 and key = any($5)`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index, keys)
	found := make(map[string]bool)
	var key string
	_, err := pgx.ForEachRow(rows, []any{&key}, func() error { found[key] = true; return nil })
	return found, err
}

// redriveLimit bounds the events that are tried again in one transaction.
const redriveLimit = 100

// countParked returns how many events of a partition are parked.
func (p *Projection) countParked(ctx context.Context, of broker.Partition) (n int64, err error) {
	err = p.db.QueryRow(ctx, `select coalesce((select parked from runnel_projections.position
		where projection = $1 and version = $2 and topic = $3 and partition = $4), 0)`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index).Scan(&n)
	return n, err
}

// due returns the events to be tried now, a few of one key in their order, and
// when the next one is to be tried (zero: none is).
func (p *Projection) due(ctx context.Context, c *codec, of broker.Partition, now time.Time) (rows []parkedEvent, next time.Time, err error) {
	var key string
	var at *time.Time
	err = p.db.QueryRow(ctx, `select key, next_try from runnel_projections.parked
		where projection = $1 and version = $2 and topic = $3 and partition = $4 and state = 'retrying' order by next_try, ordinal limit 1`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index).Scan(&key, &at)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, time.Time{}, nil
	case err != nil:
		return nil, time.Time{}, err
	case at.After(now):
		return nil, *at, nil
	}
	found, _ := p.db.Query(ctx, `select ordinal, position, event_id, event_type, occurred_at, published_at, headers, schema_version, payload, state, tries, catching_up
		from (select *, row_number() over w as n, sum(octet_length(payload)) over w as bytes from (select * from runnel_projections.parked
			where projection = $1 and version = $2 and topic = $3 and partition = $4 and key = $5 order by ordinal limit $6) few
			window w as (order by ordinal)) fit
		where n = 1 or bytes <= $7 order by ordinal`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index, key, min(redriveLimit, p.cfg.BatchSize), p.cfg.BatchBytes)
	rows, err = pgx.CollectRows(found, func(row pgx.CollectableRow) (parkedEvent, error) {
		r := parkedEvent{Message: Message{AggregateID: key, Topic: of.Topic, Partition: of.Index, codec: c}}
		var ordinal int64
		var at string
		var headers []byte
		err := row.Scan(&ordinal, &at, &r.ID, &r.Type, &r.OccurredAt, &r.PublishedAt, &headers, &r.schema, &r.payload, &r.state, &r.tries, &r.CatchingUp)
		if err == nil {
			r.Position, err = position.Parse(at)
		}
		if err == nil {
			err = json.Unmarshal(headers, &r.Headers)
		}
		r.Ordinal = uint64(ordinal)
		return r, err
	})
	return rows, *at, err
}

// errChanged says that parked events are no longer what they were when they were
// looked up: a person or another instance was faster.
var errChanged = errors.New("the parked events have changed")

// claim locks parked events and reports errChanged unless they are still the first
// ones of their key and to be tried. The position's row is locked.
func (p *Projection) claim(ctx context.Context, tx pgx.Tx, of broker.Partition, rows []parkedEvent) error {
	found, _ := tx.Query(ctx, `select ordinal, state from runnel_projections.parked
		where projection = $1 and version = $2 and topic = $3 and partition = $4 and key = $5 order by ordinal limit $6 for update`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index, rows[0].AggregateID, len(rows))
	i := 0
	var ordinal int64
	var state string
	_, err := pgx.ForEachRow(found, []any{&ordinal, &state}, func() error {
		if uint64(ordinal) != rows[i].Ordinal || i == 0 && state != stateRetrying {
			return errChanged
		}
		i++
		return nil
	})
	if err == nil && i < len(rows) {
		err = errChanged
	}
	return err
}

// unpark removes events that were claimed, and lets the next one of their key take
// its turn at once.
func (p *Projection) unpark(ctx context.Context, tx pgx.Tx, of broker.Partition, rows []parkedEvent, passed, unhandled []string) error {
	last := rows[len(rows)-1]
	var batch pgx.Batch
	batch.Queue(`delete from runnel_projections.parked
		where projection = $1 and version = $2 and topic = $3 and partition = $4 and key = $5 and ordinal <= $6`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index, last.AggregateID, int64(last.Ordinal))
	batch.Queue(promoteSQL, p.cfg.Name, p.cfg.Version, of.Topic, of.Index, last.AggregateID, p.now())
	batch.Queue(`update runnel_projections.position set parked = parked - $5, updated_at = clock_timestamp()
		where projection = $1 and version = $2 and topic = $3 and partition = $4`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index, len(rows))
	p.queuePassed(&batch, of, passed)
	p.queueUnhandled(&batch, of.Topic, unhandled)
	return tx.SendBatch(ctx, &batch).Close()
}

// promoteSQL makes the first event of a key due, when the one before it is gone.
const promoteSQL = `update runnel_projections.parked set state = 'retrying', tries = 0, next_try = $6
	where projection = $1 and version = $2 and topic = $3 and partition = $4 and key = $5 and state = 'behind'
	and ordinal = (select min(ordinal) from runnel_projections.parked
		where projection = $1 and version = $2 and topic = $3 and partition = $4 and key = $5)`

// keepParked records another failed try of an event that was claimed.
func (p *Projection) keepParked(ctx context.Context, tx pgx.Tx, of broker.Partition, r parkedEvent) error {
	code, text := describeCause(r.cause)
	tag, err := tx.Exec(ctx, `update runnel_projections.parked set state = $6, tries = $7, error_code = $8, error = $9, next_try = $10
		where projection = $1 and version = $2 and topic = $3 and partition = $4 and ordinal = $5`,
		p.cfg.Name, p.cfg.Version, of.Topic, of.Index, int64(r.Ordinal), r.state, r.tries, code, text, nullTime(r.nextTry))
	if err == nil && tag.RowsAffected() != 1 {
		err = fmt.Errorf("the parked event %d vanished while it was locked", r.Ordinal)
	}
	return err
}
