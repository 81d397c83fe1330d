package outbox

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"

	"github.com/runnel-cdc/runnel/internal/token"
)

// Receipt says what Publish wrote. It is worth something once the transaction
// has committed.
type Receipt struct {
	IDs []uuid.UUID // of the events, in the order given

	events []token.Event
}

func newReceipt(rows []row) Receipt {
	r := Receipt{IDs: make([]uuid.UUID, len(rows)), events: make([]token.Event, len(rows))}
	for i := range rows {
		row := &rows[i]
		r.IDs[i] = row.id
		r.events[i] = token.Event{
			ID: row.id, AggregateType: row.aggregateType, Type: row.eventType, KeyHash: token.KeyHash(row.aggregateID),
		}
	}
	return r
}

// walPosition is asked for the insert position: with asynchronous commit,
// pg_current_wal_lsn lags behind the commit that just returned.
const walPosition = "select coalesce(epoch, 0), (lsn - '0/0')::text from runnel.wal_position()"

// Token returns a short text (about 70 characters for one event) that stands for
// these events: whoever reads a local copy passes it to consumers.WaitFor and
// sees its own write. It travels in a header. Call it after the transaction has
// committed, with a connection to the same database that may write.
//
// Errors: ErrTokenTooLarge for more than 64 different pairs of event type and
// aggregate id.
func (r Receipt) Token(ctx context.Context, db Querier) (string, error) {
	var epoch int32
	var lsn string
	if err := db.QueryRow(ctx, walPosition).Scan(&epoch, &lsn); err != nil {
		return "", fmt.Errorf("read the WAL position: %w", databaseError(err))
	}
	return r.token(epoch, lsn)
}

// TokenSQL is Token for database/sql.
func (r Receipt) TokenSQL(ctx context.Context, db *sql.DB) (string, error) {
	var epoch int32
	var lsn string
	if err := db.QueryRowContext(ctx, walPosition).Scan(&epoch, &lsn); err != nil {
		return "", fmt.Errorf("read the WAL position: %w", databaseError(err))
	}
	return r.token(epoch, lsn)
}

func (r Receipt) token(epoch int32, lsn string) (string, error) {
	t := token.Token{Epoch: uint32(epoch)}
	if _, err := fmt.Sscanf(lsn, "%d", &t.LSN); err != nil {
		return "", fmt.Errorf("WAL position %q: %w", lsn, err)
	}
	// Of events that go to the same partition, the last one is applied last.
	last := make(map[token.Event]int, len(r.events))
	for i, e := range r.events {
		e.ID = [16]byte{}
		last[e] = i
	}
	for i, e := range r.events {
		e.ID = [16]byte{}
		if last[e] == i {
			t.Events = append(t.Events, r.events[i])
		}
	}
	text, err := t.Encode()
	if err != nil {
		return "", ErrTokenTooLarge.Wrap(err, "%d events", len(t.Events))
	}
	return text, nil
}
