package evolution

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Begun is a plan that was begun and not carried out to its end.
type Begun struct {
	Hash  string
	Steps int // of the whole plan: some of them may be done
	At    time.Time
	By    string // the role
}

// Unfinished returns the plans that were begun and not finished, the last one first. What
// an older one has left, a plan that was finished since has taken up; it does not count.
func Unfinished(ctx context.Context, db *pgx.Conn) ([]Begun, error) {
	rows, err := db.Query(ctx, `select hash, jsonb_array_length(steps), begun_at, begun_by from runnel.schema_plan p
		where finished_at is null and not exists (select from runnel.schema_plan o where o.finished_at is not null and o.begun_at > p.begun_at)
		order by begun_at desc, hash`)
	if err != nil {
		return nil, fmt.Errorf("look for plans that were begun: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Begun])
	if err != nil {
		return nil, fmt.Errorf("look for plans that were begun: %w", err)
	}
	return all, nil
}
