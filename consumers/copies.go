package consumers

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Copy is one version of a projection, as its database holds it.
type Copy struct {
	Version   int
	State     string    // live: it is read; building: beside the live one; old: it was live until another was built
	Schema    string    // of its tables
	CreatedAt time.Time // when its tables were made
	SwappedAt time.Time // when it took the place of another; zero: it did not
	Passed    uint64    // events that its positions cover, in all partitions
	Parked    int64     // of these, those that are put aside
	Diverged  bool      // it holds events that the source database has lost since: rebuild it
	Retrying  int64     // of these, those that are tried again by themselves, if an instance runs: a swap waits for the live copy's
}

// Copies returns the versions of a projection that its database holds, by number.
// It works from any process. Where no projection ever ran there are none.
func Copies(ctx context.Context, db Querier, projection string) ([]Copy, error) {
	made, err := hasTable(ctx, db, "runnel_projections.rebuild")
	if err != nil || !made {
		return nil, err
	}
	diverged := "false"
	if made, err = hasTable(ctx, db, "runnel_projections.lost"); err != nil { // of an older release
		return nil, err
	} else if made {
		diverged = "exists (select from runnel_projections.lost l where l.projection = p.name and l.version = p.version and l.applied)"
	}
	rows, err := db.Query(ctx, `select p.version, p.state, p.schema, p.created_at, r.swapped_at,
			coalesce(sum(o.ordinal), 0)::bigint, coalesce(sum(o.parked), 0)::bigint,
			(select count(*) from runnel_projections.parked k join runnel_projections.position w using (projection, version, topic, partition)
				where projection = p.name and version = p.version and k.state = 'retrying'
				and greatest(k.next_try, w.updated_at) > now() - make_interval(secs => $2)), `+diverged+`
		from runnel_projections.projection p
		left join runnel_projections.rebuild r on r.projection = p.name and r.version = p.version
		left join runnel_projections.position o on o.projection = p.name and o.version = p.version
		where p.name = $1 group by p.name, p.version, p.state, p.schema, p.created_at, r.swapped_at order by p.version`, projection, triedLately.Seconds())
	if err != nil {
		return nil, fmt.Errorf("reading a projection's copies: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Copy, error) {
		var c Copy
		var swapped *time.Time
		var passed int64
		err := row.Scan(&c.Version, &c.State, &c.Schema, &c.CreatedAt, &swapped, &passed, &c.Parked, &c.Retrying, &c.Diverged)
		if swapped != nil {
			c.SwappedAt = *swapped
		}
		c.Passed = uint64(passed)
		return c, err
	})
}

func hasTable(ctx context.Context, db Querier, name string) (bool, error) {
	rows, err := db.Query(ctx, "select to_regclass($1) is not null", name)
	if err != nil {
		return false, fmt.Errorf("reading a projection's copies: %w", err)
	}
	return pgx.CollectExactlyOneRow(rows, pgx.RowTo[bool])
}

// DropOldCopy removes the copy that was live until another was built, with its
// tables and whatever depends on them, and returns its version; 0: there is none.
// Its subscription was deleted when it was replaced.
func DropOldCopy(ctx context.Context, db Beginner, projection string) (version int, err error) {
	return remove(ctx, db, projection, old)
}

// CancelRebuild removes the copy that is being built beside the live one, and
// returns its version; 0: there is none. Instances that build it stop with
// ErrTables.
func CancelRebuild(ctx context.Context, db Beginner, projection string) (version int, err error) {
	return remove(ctx, db, projection, building)
}

// readCommitted comes first in a transaction on a connection of the caller's: who
// waits for a lock has to see what was done meanwhile.
const readCommitted = "set transaction isolation level read committed"

func remove(ctx context.Context, db Beginner, projection string, state copyState) (version int, err error) {
	all, err := Copies(ctx, db, projection)
	if err != nil || len(all) == 0 {
		return 0, err
	}
	err = pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, readCommitted); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "select pg_advisory_xact_lock($1)", int64(setupLock)); err != nil {
			return err
		}
		held, err := readVersions(ctx, tx, projection)
		if err != nil || held[state] == 0 {
			return err
		}
		version = held[state]
		if err := abandon(ctx, tx, projection, version); err != nil {
			return err
		}
		// The row first: workers, which lock theirs, are out of the tables then.
		if _, err := tx.Exec(ctx, "delete from runnel_projections.projection where name = $1 and version = $2", projection, version); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "drop schema if exists "+quote(schemaOf(projection, state))+" cascade")
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("removing version %d of projection %s: %w", version, projection, err)
	}
	return version, nil
}
