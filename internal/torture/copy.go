package torture

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

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
		Name: projectionName, Version: s.Version, Database: pool, Namespace: namespace, Topics: sortedTopics(), Logger: log,
		Retry:  consumers.Retry{Immediate: 1, Delays: []time.Duration{50 * time.Millisecond, 200 * time.Millisecond}},
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

// effectTables are the projection's world outside: what it did once for every event,
// whichever version did it, and the aggregates that its handler refuses.
const effectTables = `
create table effect (topic text, key text, n int not null, primary key (topic, key));
create table sick (topic text, key text);`

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
	if refused, err := sick(ctx, tx, topic, keys); err != nil || refused {
		return errors.Join(err, errSick)
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
	effects := make(map[string]int)
	for i := range all {
		m := &all[i]
		if !m.CatchingUp {
			effects[m.AggregateID]++
		}
		event := rawEvent{event: eventNamed(m.Type)}
		if err := m.Decode(&event); err != nil {
			return err
		}
		f := folds[m.AggregateID]
		f.H, f.Applied = fold(f.H, m.ID.String(), hashOf(event.data)), f.Applied+1
	}
	h, applied, n := make([]string, len(keys)), make([]int, len(keys)), make([]int, len(keys))
	for i, key := range keys {
		h[i], applied[i], n[i] = folds[key].H, folds[key].Applied, effects[key]
	}
	if len(effects) > 0 {
		if _, err := tx.Exec(ctx, `insert into public.effect select $1, key, n from unnest($2::text[], $3::int[]) as t(key, n)
			on conflict (topic, key) do update set n = effect.n + excluded.n`, topic, keys, n); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `insert into fold select $1, key, h, applied from unnest($2::text[], $3::text[], $4::int[]) as t(key, h, applied)
		on conflict (topic, key) do update set h = excluded.h, applied = excluded.applied`, topic, keys, h, applied)
	return err
}

var errSick = errors.New("the handler refuses the aggregate")

// sick reports whether the handler is to refuse one of keys.
func sick(ctx context.Context, tx pgx.Tx, topic string, keys []string) (refused bool, err error) {
	err = tx.QueryRow(ctx, "select exists (select from public.sick where topic = $1 and key = any($2))", topic, keys).Scan(&refused)
	return refused, err
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
