package torture

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/schemas"
)

// projectionName is the copy's, and the Postgres schema of its table.
const projectionName = "folds"

// Copy is the body of a projection's process.
func Copy() error {
	s, err := readSettings()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	pool, err := pgxpool.New(ctx, s.Postgres)
	if err != nil {
		return err
	}
	defer pool.Close()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	p, err := consumers.New(consumers.Config{
		Name: projectionName, Database: pool, Namespace: namespace, Topics: sortedTopics(), Logger: log,
		Broker: consumers.BrokerConfig{URL: s.Pulsar, AdminURL: s.PulsarAdmin},
		Migrate: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `create table fold (topic text, key text, h text not null, applied int not null, primary key (topic, key))`)
			return err
		},
	})
	if err != nil {
		return err
	}
	consumers.HandleBatch(p, applyFolds)
	go armFrom(os.Stdin)
	return p.Run(ctx)
}

func sortedTopics() []string {
	var all []string
	for t := range topics() {
		all = append(all, t)
	}
	slices.Sort(all)
	return all
}

// applyFolds takes the messages of one partition into their aggregates' folds.
func applyFolds(ctx context.Context, tx pgx.Tx, all []consumers.Message) error {
	var keys []string
	for i := range all {
		if !slices.Contains(keys, all[i].AggregateID) {
			keys = append(keys, all[i].AggregateID)
		}
	}
	topic := all[0].Topic[len("persistent://"+namespace+"/"):]
	folds := make(map[string]*CopyAggregate, len(keys))
	for _, key := range keys {
		folds[key] = &CopyAggregate{Topic: topic, Key: key}
	}
	rows, err := tx.Query(ctx, `select key, h, applied from fold where topic = $1 and key = any($2)`, topic, keys)
	if err != nil {
		return err
	}
	var was CopyAggregate
	if _, err := pgx.ForEachRow(rows, []any{&was.Key, &was.H, &was.Applied}, func() error {
		folds[was.Key].H, folds[was.Key].Applied = was.H, was.Applied
		return nil
	}); err != nil {
		return err
	}
	for i := range all {
		m := &all[i]
		event := rawEvent{event: eventNamed(m.Type)}
		if err := m.Decode(&event); err != nil {
			return err
		}
		f := folds[m.AggregateID]
		f.H, f.Applied = fold(f.H, m.ID.String(), hashOf(event.data)), f.Applied+1
	}
	h, applied := make([]string, len(keys)), make([]int, len(keys))
	for i, key := range keys {
		h[i], applied[i] = folds[key].H, folds[key].Applied
	}
	_, err = tx.Exec(ctx, `insert into fold select $1, key, h, applied from unnest($2::text[], $3::text[], $4::int[]) as t(key, h, applied)
		on conflict (topic, key) do update set h = excluded.h, applied = excluded.applied`, topic, keys, h, applied)
	return err
}

// rawEvent decodes to the event's own bytes.
type rawEvent struct {
	event *schemas.EventType
	data  []byte
}

// EventType implements schemas.Payload.
func (e *rawEvent) EventType() *schemas.EventType { return e.event }

// AppendAvro implements schemas.Payload.
func (e *rawEvent) AppendAvro(dst []byte) ([]byte, error) { return append(dst, e.data...), nil }

// DecodeAvro implements schemas.Decoder.
func (e *rawEvent) DecodeAvro(data []byte) error {
	if err := schemas.Validate(e.event.Schema, data); err != nil {
		return fmt.Errorf("%s: %w", e.event.Name, err)
	}
	e.data = append(e.data[:0], data...)
	return nil
}
