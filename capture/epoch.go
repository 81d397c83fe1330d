package capture

import (
	"context"
	"errors"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
)

// An epoch is a small number for a history: a system identifier and a
// timeline. Following a change of history needs more than a new number, so
// for now a change halts.

// knownEpoch sets s.epoch to that of the recorded history, which must be the
// server's.
func (s *Source) knownEpoch(ctx context.Context) error {
	epoch, systemID, timeline, err := latestEpoch(ctx, s.sql)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrEpochChanged.New("the pipeline is recorded, but no history is")
	}
	if err != nil {
		return queryFault(err, "read the recorded history")
	}
	if systemID != s.systemID || timeline != s.timeline {
		return ErrEpochChanged.New("recorded: system %s, timeline %d; the server: system %s, timeline %d",
			systemID, timeline, s.systemID, s.timeline)
	}
	s.epoch = epoch
	return nil
}

// recordEpoch sets s.epoch, writing the first epoch when there is none yet.
// Another pipeline of this database may have done so.
func (s *Source) recordEpoch(ctx context.Context, tx pgx.Tx, begin uint64) error {
	if _, err := tx.Exec(ctx, `insert into runnel.epoch (epoch, system_id, timeline, begin_lsn)
		select 1, $1, $2, $3::text::pg_lsn where not exists (select from runnel.epoch)
		on conflict do nothing`, s.systemID, s.timeline, pglogrepl.LSN(begin).String()); err != nil {
		return err
	}
	epoch, systemID, timeline, err := latestEpoch(ctx, tx)
	if err != nil {
		return err
	}
	if systemID != s.systemID || timeline != s.timeline {
		return ErrEpochChanged.New("recorded: system %s, timeline %d; the server: system %s, timeline %d",
			systemID, timeline, s.systemID, s.timeline)
	}
	s.epoch = epoch
	return nil
}

func latestEpoch(ctx context.Context, db querier) (epoch uint32, systemID string, timeline int32, err error) {
	var n int32
	err = db.QueryRow(ctx, `select epoch, system_id::text, timeline from runnel.epoch order by epoch desc limit 1`).
		Scan(&n, &systemID, &timeline)
	return uint32(n), systemID, timeline, err
}

// querier is a connection or a transaction.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}
