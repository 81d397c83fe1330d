package capture

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
)

// snapshotFields are the columns read from the table, in this order.
var snapshotFields = []field{
	fieldSeq, fieldID, fieldAggregateType, fieldAggregateID, fieldEventType,
	fieldEncoding, fieldFingerprint, fieldPayload, fieldHeaders, fieldOccurredAt,
}

// snapshotQuery selects the rows from before the slot. The stored snapshot
// gives the same rows on every attempt, and seq the same order, so that each
// keeps its position.
const snapshotQuery = `select seq, id, aggregate_type, aggregate_id, event_type, encoding, fingerprint, payload, headers, occurred_at
	from runnel.outbox where pg_visible_in_snapshot(xid, $1::text::pg_snapshot) order by seq`

// snapshot hands the rows from before the slot over as one transaction, just
// below the slot's consistent point. They are read on the SQL connection by a
// goroutine of its own, so that status messages go on; it ends before this
// returns.
func (r *run) snapshot() error {
	ctx, cancel := context.WithCancel(r.ctx)
	batches := make(chan *router.Batch)
	result := make(chan error, 1)
	go func() {
		defer close(batches)
		result <- r.readSnapshot(ctx, batches)
	}()
	defer func() {
		cancel()
		for range batches { // until it has ended
		}
	}()
	for {
		select {
		case b, ok := <-batches:
			if !ok {
				return <-result
			}
			if err := r.hand(b); err != nil {
				return err
			}
		case <-r.tick.C:
			if err := r.status(false); err != nil {
				return err
			}
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

// readSnapshot reads rows as the server sends them: memory stays bounded by
// what it and out hold.
func (s *Source) readSnapshot(ctx context.Context, out chan<- *router.Batch) error {
	s.sqlMu.Lock()
	defer s.sqlMu.Unlock()
	c := snapshotCopier{tx: s.At(s.rec.consistentPoint - 1)}
	in := c.batch.next()
	in.Kind = router.Begin
	in.Transaction = router.Transaction{Position: c.tx, Committed: s.rec.began().UnixMicro()}
	query, parameter := s.fromBefore()
	rows := s.sql.PgConn().ExecParams(ctx, query, [][]byte{[]byte(parameter)}, nil, nil, []int16{1})
	for rows.NextRow() {
		if err := c.row(rows.Values()); err != nil {
			return errors.Join(err, closeRows(rows))
		}
		if c.batch.full() {
			if err := give(ctx, out, c.batch.cut()); err != nil {
				return errors.Join(err, closeRows(rows))
			}
		}
	}
	if err := closeRows(rows); err != nil {
		return queryFault(err, "read the rows from before the slot")
	}
	in = c.batch.next()
	in.Kind = router.Commit
	in.LSN = s.rec.consistentPoint
	return give(ctx, out, c.batch.cut())
}

func closeRows(rows *pgconn.ResultReader) error {
	_, err := rows.Close()
	return err
}

func give(ctx context.Context, out chan<- *router.Batch, b *router.Batch) error {
	select {
	case out <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// snapshotCopier turns rows of a query, whose memory is reused, into inputs.
type snapshotCopier struct {
	tx    position.Position // its Index is the next row's
	chunk []byte            // free memory for values
	batch batcher
}

func (c *snapshotCopier) row(values [][]byte) error {
	if len(values) != len(snapshotFields) {
		return fmt.Errorf("a row of %d columns, want %d", len(values), len(snapshotFields))
	}
	if c.tx.Index == math.MaxUint32 {
		return fmt.Errorf("more than %d rows before the slot", uint32(math.MaxUint32))
	}
	size := 0
	for _, v := range values {
		size += len(v)
	}
	if size > len(c.chunk) {
		c.chunk = make([]byte, max(size, chunkSize))
	}
	in := c.batch.next()
	in.Kind = router.Row
	in.Event.Position = c.tx
	c.tx.Index++
	for i, v := range values {
		if v == nil {
			continue
		}
		n := copy(c.chunk, v)
		if err := setField(&in.Event, snapshotFields[i], c.chunk[:n:n]); err != nil {
			return err
		}
		c.chunk = c.chunk[n:]
	}
	c.batch.bytes += size
	failpoint.Hit("capture.snapshot") // amid the rows from before the slot
	return nil
}
