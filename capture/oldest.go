package capture

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// ReadOldest reads when the oldest transaction began whose outbox rows are not known as confirmed,
// by the progress that was saved last: some of them may be, if they committed within a second or
// so of that. The zero time means that there is none. It is not known before the pipeline has
// saved any progress on this server. It costs a few index lookups.
func ReadOldest(ctx context.Context, conn *pgx.Conn, pipeline string) (oldest time.Time, known bool, err error) {
	var at *time.Time
	// A snapshot shows all below its xmax but what was in progress then. Rows that came from
	// another server are settled; their xids may be beyond all of this one's.
	err = conn.QueryRow(ctx, `with saved as materialized (
			select g.snapshot as shot, p.settled_seq as settled
			from runnel.pipeline p join runnel.progress g on g.pipeline = p.name
			where p.name = $1 and g.snapshot is not null and p.system_id = (select system_identifier::text from pg_control_system()))
		select exists (select from saved), least(
			(select inserted_at from runnel.outbox where xid >= (select pg_snapshot_xmax(shot) from saved)
				and xid < pg_snapshot_xmax(pg_current_snapshot())
				and seq > (select settled from saved) order by xid limit 1),
			(select min(o.inserted_at) from (select pg_snapshot_xip(shot) as xid, settled from saved) open
				join runnel.outbox o on o.xid = open.xid and o.seq > open.settled))`, pipeline).Scan(&known, &at)
	switch {
	case err != nil:
		return time.Time{}, false, queryFault(err, "look for the oldest event that is not published")
	case at != nil:
		oldest = *at
	}
	return oldest, known, nil
}
