package outbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// PublishedPartitions returns the topics that a pipeline has published to, or been ready
// to, by full name, each with the number of partitions it then had: that number stays
// the topic's, whatever is added to it. An empty name stands for all pipelines. There
// are none when there is no outbox yet. Owner and daemon may call it.
func PublishedPartitions(ctx context.Context, db *pgx.Conn, pipeline string) (map[string]int, error) {
	rows, _ := db.Query(ctx, `select topic, count(distinct partition)::int from runnel.progress_partition
		where $1 in ('', pipeline) group by topic`, pipeline)
	all := make(map[string]int)
	var topic string
	var n int
	_, err := pgx.ForEachRow(rows, []any{&topic, &n}, func() error {
		all[topic] = n
		return nil
	})
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "3F000") { // no such table, no such schema
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the topics that were published to: %w", err)
	}
	return all, nil
}
