package torture

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/schemas"
)

// collect gathers the history from the servers, the topic twice.
func (r *runner) collect(ctx context.Context) (err error) {
	h := &r.history
	h.Samples = r.sampler.samples()
	h.Run.MinEvents = r.o.MinEvents
	h.Run.Refused = r.load.refusedWrites()
	if h.Run.Guards, err = readGuards(r.o.Dir); err != nil {
		return err
	}
	if h.Run.MinEvents == 0 {
		h.Run.MinEvents = r.o.Before + 50*len(h.Faults)
	}
	if err := r.collectSource(ctx); err != nil {
		return err
	}
	if h.Copies, err = collectRows[CopyAggregate](ctx, r.target, `select topic, key, h, applied, coalesce(n, 0)
		from `+projectionName+`.fold left join public.effect using (topic, key) order by topic, key`); err != nil {
		return err
	}
	if h.Topic, err = r.readTopics(ctx); err != nil {
		return err
	}
	r.say("read %d messages; the broker is restarted and they are read again", len(h.Topic))
	if err := r.stack.RestartBroker(ctx); err != nil {
		return err
	}
	h.Again, err = r.readTopics(ctx)
	h.Run.Ended = now()
	return err
}

func (r *runner) collectSource(ctx context.Context) (err error) {
	h := &r.history
	if h.Truth, err = collectRows[TruthRow](ctx, r.source, `select id::text, tx, type, key, n, hash from truth.event order by id`); err != nil {
		return err
	}
	if len(h.Run.Repairs) == 0 { // else it was read before the first
		if h.Run.ConsistentPoint, err = r.consistentPoint(ctx); err != nil {
			return err
		}
	}
	if h.Run.Epoch, err = value[uint32](ctx, r.source, `select max(epoch) from runnel.epoch`); err != nil {
		return err
	}
	if r.reroutes {
		if h.Run.Routing, err = r.routing(ctx); err != nil {
			return err
		}
	}
	h.Commits, err = readCommits(ctx, r.source)
	return err
}

// consistentPoint is where the daemon's slot begins.
func (r *runner) consistentPoint(ctx context.Context) (uint64, error) {
	point, err := value[int64](ctx, r.source, `select (consistent_point - '0/0'::pg_lsn)::bigint from runnel.pipeline where name = $1`, pipelineName)
	return uint64(point), err
}

func collectRows[T any](ctx context.Context, address, sql string) ([]T, error) {
	db, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	rows, err := db.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[T])
}

// readTopics reads every topic raw, from its start, and the schemas.
func (r *runner) readTopics(ctx context.Context) (all []TopicMessage, err error) {
	client, err := broker.Dial(ctx, broker.Config{URL: r.stack.PulsarURL, AdminURL: r.stack.PulsarAdminURL, Name: "torture"})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	registry := schemas.NewRegistry(client.AdminURL(), client.HTTP())
	r.history.Run.Schemas = make(map[string]map[int64]string)
	if r.history.Run.Strange, err = r.strangeTopics(ctx); err != nil {
		return nil, err
	}
	for _, local := range sortedTopics() {
		full := wire.TopicName(namespace, local)
		versions, err := registry.Versions(ctx, full)
		if err != nil {
			return nil, err
		}
		r.history.Run.Schemas[local] = make(map[int64]string)
		for _, v := range versions {
			r.history.Run.Schemas[local][v.Version] = v.JSON
		}
		for i := range partitions {
			if all, err = readPartition(ctx, client, local, broker.Partition{Topic: full, Index: i}, all); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// strangeTopics lists the topics and partitions of the namespace that are not those
// of events. Pulsar's own begin with __.
func (r *runner) strangeTopics(ctx context.Context) (strange []string, err error) {
	all, err := r.adminGet(ctx, "/admin/v2/persistent/"+namespace)
	if err != nil {
		return nil, err
	}
	var names []string
	if err := json.Unmarshal(all, &names); err != nil {
		return nil, fmt.Errorf("the list of topics: %w", err)
	}
	known := make(map[string]bool)
	for _, local := range sortedTopics() {
		for i := range partitions {
			known[fmt.Sprintf("%s-partition-%d", wire.TopicName(namespace, local), i)] = true
		}
	}
	for _, name := range names {
		if _, local, _ := strings.Cut(name, namespace+"/"); !known[name] && !strings.HasPrefix(local, "__") && !history.IsTopic(local) && !deadletter.IsTopic(local) {
			strange = append(strange, name)
		}
	}
	return strange, nil
}

func readPartition(ctx context.Context, client *broker.Pulsar, local string, p broker.Partition, all []TopicMessage) ([]TopicMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	err := eachMessage(ctx, client, p, func(m *broker.Incoming) error {
		all = append(all, TopicMessage{Topic: local, Partition: p.Index, At: fmt.Sprintf("%d:%d:%d", m.ID.Ledger, m.ID.Entry, m.ID.Batch),
			Key: m.Key, ID: m.Properties["id"], Type: m.Properties["type"], Position: m.Properties[position.Property],
			Version: m.SchemaVersion, Published: m.PublishTime.UnixMicro(), Payload: m.Payload})
		return nil
	})
	return all, err
}

// eachMessage reads a partition raw, from its start to its end.
func eachMessage(ctx context.Context, client *broker.Pulsar, p broker.Partition, do func(*broker.Incoming) error) error {
	reader, err := client.Read(ctx, p, broker.Start{})
	if err != nil {
		return err
	}
	n := 0
	err = broker.ReadRest(ctx, reader, func(m *broker.Incoming) error {
		n++
		return do(m)
	})
	if err != nil {
		return fmt.Errorf("%s after %d messages: %w", p, n, err)
	}
	return nil
}

// endDaemon asks the daemon to end in order, so that nothing is written while the
// topics are read.
func (r *runner) endDaemon(ctx context.Context) error {
	r.checkCopy(ctx)
	r.history.Run.PeakMemory = peakMemory(r.daemon.PID())
	for _, p := range r.spawned {
		r.history.Run.PeakMemory = max(r.history.Run.PeakMemory, p.peak.Load())
	}
	r.daemon.Signal(syscall.SIGTERM)
	r.copy.Signal(syscall.SIGTERM)
	for _, p := range []*process{r.daemon, r.copy} {
		if err := p.gone(ctx, r.o.Patience); err != nil {
			return err
		}
		if p.Err() != nil && !p.terminated() {
			return fmt.Errorf("%s was asked to end: %w", p.name, p.Err())
		}
	}
	return nil
}
