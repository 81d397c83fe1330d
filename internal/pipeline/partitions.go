package pipeline

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
)

// recordPartitions lets every later run know where this one may publish: that is where
// it looks for what was published. Partition counts are kept for life: see keepCount.
func (r *run) recordPartitions(ctx context.Context) error {
	db, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	batch := &pgx.Batch{}
	for i := range r.topics {
		batch.Queue(recordTopic, r.cfg.Name, r.topics[i].full, r.topics[i].partitions, position.Position{}.String())
	}
	r.recordPrepared(batch)
	if err := db.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("record the partitions: %w", err)
	}
	return nil
}

// recordTopic records the partitions of a topic.
const recordTopic = `insert into runnel.progress_partition (pipeline, topic, partition, position, ordinal)
	select $1::text, $2::text, n, $4::text, 0 from generate_series(0, $3::int - 1) n on conflict do nothing`

// errRecounted is no fault: another daemon began to publish to a topic while this one
// looked at it.
var errRecounted = errors.New("partitions that are published to were recorded meanwhile: start over")

// knowsPartitions requires, now that nobody else publishes, that this run knows every
// partition that the pipeline may have published to: it looks there for what was published.
// last is the last record of the history topic, nil if there is none.
func (r *run) knowsPartitions(ctx context.Context, last *history.Record) error {
	db, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	routing, _, err := r.storedRoutes(ctx, db)
	if err != nil {
		return err
	}
	if last != nil {
		routing = newer(last.Routing, routing)
	}
	if err := r.knowsRouted(ctx, db, routing); err != nil {
		return err
	}
	return r.knowsRecorded(ctx, db)
}

// knowsRouted is about the topics that recorded generations of routes lead to. The database
// may have lost what it recorded of them; the history topic has not.
func (r *run) knowsRouted(ctx context.Context, db *pgx.Conn, recorded []history.Generation) error {
	all, err := generations(recorded)
	if err != nil {
		return err
	}
	types, err := outbox.EventTypes(ctx, db)
	if err != nil {
		return err
	}
	known := make(map[string]bool)
	for _, p := range r.everyPartition() {
		known[p.Topic] = true
	}
	start := false
	for _, g := range all {
		names := g.Routes.Topics()
		for _, t := range types {
			names = append(names, g.Routes.Explain(t.AggregateType, t.Name).Topic)
		}
		for _, name := range names {
			full := wire.TopicName(r.cfg.Namespace, name)
			if known[full] {
				continue
			}
			known[full] = true
			n, err := r.client.Partitions(ctx, full)
			if errors.Is(err, broker.ErrTopicMissing) {
				continue // nothing can be there
			}
			if err != nil {
				return err
			}
			if n == 0 {
				continue // it is not partitioned: none of ours
			}
			if _, err := db.Exec(ctx, recordTopic, r.cfg.Name, full, n, position.Position{}.String()); err != nil {
				return fmt.Errorf("record the partitions: %w", err)
			}
			start = true
		}
	}
	if start {
		return errRecounted
	}
	return nil
}

// knowsRecorded is about what was recorded since this run prepared.
func (r *run) knowsRecorded(ctx context.Context, db *pgx.Conn) error {
	recorded, err := outbox.PublishedPartitions(ctx, db, r.cfg.Name)
	if err != nil {
		return err
	}
	known := make(map[string]int, len(recorded))
	for _, p := range r.everyPartition() {
		known[p.Topic]++
	}
	for topic, n := range recorded {
		if known[topic] != n {
			return errRecounted
		}
	}
	return nil
}
