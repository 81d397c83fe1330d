package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/catalogfile"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// A daemon that died is to publish again at once, however many topics it has. So a run that
// has catalog and settings of the last one that streamed makes nothing, and does not ask for
// each topic before it streams: a topic is loaded when its first event comes, and all of them
// soon after the start. What is not in order is found then, and the next run looks at
// everything, and makes what may be made, as one with another catalog does.

// preparedHash is of all that decides what a run makes, and looks for.
func (r *run) preparedHash(c *schemas.Catalog) (string, error) {
	type event struct{ Name, Aggregate, JSON string }
	migrations, err := outbox.Migrations()
	if err != nil {
		return "", err
	}
	of := struct {
		Version, Namespace, Slot, Publication string
		Outbox, Partitions                    int
		Retention                             time.Duration
		Park, AutoApply                       bool
		Roles                                 outbox.Roles
		Routes                                []router.RouteRule
		Events                                []event
		Settings                              string
	}{Version: r.cfg.Version, Namespace: r.cfg.Namespace, Slot: r.cfg.Slot, Publication: r.cfg.Publication, Outbox: len(migrations), Partitions: r.cfg.Partitions,
		Retention: r.cfg.Retention, Park: r.cfg.Park, AutoApply: r.cfg.AutoApply, Roles: r.cfg.Roles, Routes: r.cfg.Routes}
	for _, e := range c.Events() {
		of.Events = append(of.Events, event{e.Name, e.AggregateType, string(e.JSON)})
	}
	settings, err := os.ReadFile(filepath.Join(r.cfg.Schemas, catalogfile.Name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	of.Settings = string(settings)
	data, err := json.Marshal(of)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// isFamiliar reports whether the last run that streamed had the same catalog and settings.
func (r *run) isFamiliar(ctx context.Context) bool {
	db, err := r.connect(ctx)
	if err != nil {
		return false // capture.Open says what is wrong with the server
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	var hash string
	err = db.QueryRow(ctx, "select coalesce(prepared_hash, '') from runnel.pipeline where name = $1", r.cfg.Name).Scan(&hash)
	return err == nil && hash == r.prepared // without an outbox, or an older one: it is not
}

// recordPrepared lets the next run know that all is in order. It belongs to recordPartitions.
func (r *run) recordPrepared(batch *pgx.Batch) {
	if !r.familiar {
		batch.Queue("update runnel.pipeline set prepared_hash = $2 where name = $1", r.cfg.Name, r.prepared)
	}
}

// later is a topic that is loaded while the pipeline streams.
type later struct {
	mu   sync.Mutex
	done bool
	err  error
	load func(context.Context) error
}

// ready loads a topic unless it is. Whoever uses its schemas calls it before.
func (t *topic) ready(ctx context.Context) error {
	if t.later == nil {
		return nil
	}
	t.later.mu.Lock()
	defer t.later.mu.Unlock()
	if !t.later.done {
		t.later.err = t.later.load(ctx)
		t.later.done = ctx.Err() == nil
	}
	return t.later.err
}

// postpone is loadTopic for a topic that was published to.
func (r *run) postpone(name, full string, partitions int, events []*schemas.EventType) topic {
	return topic{local: name, full: full, partitions: partitions, codec: &liveCodec{}, later: &later{}, awaited: len(events) > 0}
}

// postponed has the topics that were postponed loaded in their places.
func (r *run) postponed(events map[string][]*schemas.EventType) {
	for i := range r.topics {
		t := &r.topics[i]
		if t.later == nil {
			continue
		}
		t.later.load = func(ctx context.Context) error {
			now, err := r.loadRecorded(ctx, t.local, events[t.local], t.partitions)
			if err != nil {
				return err
			}
			if now.codec == nil {
				return r.unusable(now)
			}
			*t.codec, t.newest, t.retired = *now.codec, now.newest, now.retired
			return nil
		}
	}
}

// lookAtTopics loads what was postponed, once the slot is ours.
func (r *run) lookAtTopics(ctx context.Context) error {
	if !r.familiar {
		return nil
	}
	select {
	case <-r.source.Started():
	case <-ctx.Done():
		return nil
	}
	group, loading := errgroup.WithContext(ctx)
	group.SetLimit(lookAtOnce)
	for i := range r.topics {
		if t := &r.topics[i]; t.awaited { // what only former routes led to may be gone
			group.Go(func() error { return t.ready(loading) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return r.registerEventTypes(ctx, r.catalog)
}

// lookAtOnce is how many topics are loaded at once beside what is published.
const lookAtOnce = 2

// provisioned are the faults of what a run makes, or looks for, where nothing is familiar.
var provisioned = []*fault.Code{
	ErrNotApplied, ErrOutboxVersion, capture.ErrNoOutbox, broker.ErrTopicMissing, broker.ErrPartitionCount, broker.ErrNamespacePolicy,
	router.ErrUnknownEvent, router.ErrNoDeadLetters,
}

// inDoubt reports whether a run ended with what it has not looked for.
func (r *run) inDoubt(err error) bool {
	return r.familiar && slices.ContainsFunc(provisioned, func(c *fault.Code) bool { return errors.Is(err, c) })
}
