package capture

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// ReadOldest reads when the oldest transaction began whose outbox rows are not known as confirmed,
// by the progress that was saved last: some of them may be, if they committed within a second or
// so of that. The zero time means that there is none. It is not known where the progress was saved
// on another server. It costs a few index lookups.
func ReadOldest(ctx context.Context, conn *pgx.Conn, pipeline string) (oldest time.Time, known bool, err error) {
	var at *time.Time
	// A snapshot shows all below its xmax but what was in progress then.
	err = conn.QueryRow(ctx, `with saved as materialized (
			select coalesce((select snapshot from runnel.progress where pipeline = $1), pg_snapshot '3:3:') as shot)
		select pg_snapshot_xmax(shot) <= pg_snapshot_xmax(pg_current_snapshot()), least(
			(select inserted_at from runnel.outbox where xid >= (select pg_snapshot_xmax(shot) from saved) order by xid limit 1),
			(select min(o.inserted_at) from (select pg_snapshot_xip(shot) as xid from saved) open join runnel.outbox o on o.xid = open.xid))
		from saved`, pipeline).Scan(&known, &at)
	switch {
	case err != nil:
		return time.Time{}, false, queryFault(err, "look for the oldest event that is not published")
	case at != nil:
		oldest = *at
	}
	return oldest, known, nil
}
