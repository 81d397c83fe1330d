package capture

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
)

// record is the pipeline's row in runnel.pipeline: what its slot began with.
// It is committed before the first event is published, so that the rows from
// before the slot can be selected again, with the same positions.
type record struct {
	slot            string
	systemID        string
	consistentPoint uint64
	snapshot        string // pg_snapshot: what was committed before the slot
	settled         uint32 // the newest epoch that the pipeline may publish under
	settledBefore   uint32 // settled as it was read or written last: see Unsettle
	done            bool   // all rows of the snapshot are confirmed
	inferred        bool   // done is not recorded, but follows from the slot's position
	created         time.Time
	limit           uint64    // nothing beyond is confirmed by this pipeline; 0: not known
	damage          string    // why the slot must be repaired; "": nothing is known
	repaired        time.Time // when the slot was made anew; zero: it is the first
	settledSeq      int64     // rows up to it are of another server's time
}

// The damages that are recorded.
const (
	damageGap    = "gap"    // rows were neither streamed nor published
	damageRepair = "repair" // a repair was begun, and is not done
)

func readRecord(ctx context.Context, conn *pgx.Conn, pipeline string) (*record, error) {
	var r record
	var point string
	var settled int32
	var limit string
	var repaired *time.Time
	err := conn.QueryRow(ctx, `select slot, system_id::text, consistent_point::text, snapshot::text, snapshot_done, created_at, settled_epoch,
			coalesce(slot_limit, '0/0')::text, coalesce(damage, ''), repaired_at, settled_seq
		from runnel.pipeline where name = $1 and consistent_point is not null and snapshot is not null`, pipeline).
		Scan(&r.slot, &r.systemID, &point, &r.snapshot, &r.done, &r.created, &settled, &limit, &r.damage, &repaired, &r.settledSeq)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, queryFault(err, "read the pipeline's record")
	}
	if r.consistentPoint, err = parseLSN(point); err != nil {
		return nil, err
	}
	if repaired != nil {
		r.repaired = *repaired
	}
	r.settled, r.settledBefore = uint32(settled), uint32(settled)
	r.limit, err = parseLSN(limit)
	return &r, err
}
