package pipeline

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// topic is a topic that the catalog's events go to.
type topic struct {
	local      string // name within the namespace
	full       string // persistent://tenant/namespace/local
	partitions int
	codec      *liveCodec // nil for the dead-letter topic
	newest     *broker.Schema
	retired    []string // events that are published no more
	later      *later   // not nil: codec, newest and retired are there once ready has returned
	awaited    bool     // events of the catalog go there
	maxBytes   int      // largest message; known once a lane was acquired
	published  uint64   // acknowledged in this run
}

// loadAtOnce is how many topics are asked for at once.
const loadAtOnce = 16

// readCodecLimit bounds how long the loop waits for the registry.
const readCodecLimit = 10 * time.Second

// plan returns the local names of the topics in the catalog's order, each with
// the events that go there.
func plan(c *schemas.Catalog, routes *router.Routes) (names []string, events map[string][]*schemas.EventType) {
	events = make(map[string][]*schemas.EventType)
	for _, e := range c.Events() {
		name := routes.Explain(e.AggregateType, e.Name).Topic
		if events[name] == nil {
			names = append(names, name)
		}
		events[name] = append(events[name], e)
	}
	return names, events
}

// loadTopics reads what broker and registry hold for the catalog's topics, and
// checks that it is enough to publish every event of the catalog. The dead-letter topic,
// if there is one, comes last.
func (r *run) loadTopics(ctx context.Context, c *schemas.Catalog) error {
	names, events := plan(c, r.routes)
	registered, recorded, err := r.registeredTopics(ctx)
	if err != nil {
		return err
	}
	for _, name := range registered {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	loaded := make([]topic, len(names))
	var group errgroup.Group
	group.SetLimit(loadAtOnce)
	for i, name := range names {
		full := wire.TopicName(r.cfg.Namespace, name)
		if n := recorded[full]; n > 0 && r.familiar {
			loaded[i] = r.postpone(name, full, n, events[name])
			continue
		}
		group.Go(func() (err error) {
			loaded[i], err = r.loadRecorded(ctx, name, events[name], recorded[full])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	topics := make([]topic, 0, len(names))
	r.gone = make(map[string]error)
	for i, name := range names {
		switch t := loaded[i]; {
		case t.codec != nil:
			topics = append(topics, t)
		case recorded[t.full] > 0:
			r.gone[name] = r.unusable(t)
		}
	}
	r.topics = topics
	if err := r.loadDeadLetters(ctx, recorded); err != nil {
		return err
	}
	r.postponed(events)
	return nil
}

// Deleted is the error for a topic that was published to, and that events still go to, or
// did when they were decided.
func Deleted(topic string) error {
	return broker.ErrTopicMissing.New("%s was published to, and is not there", topic).
		Fix("Find out who deleted it, and whether it can be restored. What was in it is not published a second time: its rows are in the outbox as long as its retention keeps them, for you to read. Else make it anew, as `runnel schemas apply` does where routes lead to it; then do as TOPIC_TRUNCATED says.")
}

// unusable is the error for a topic that was published to, and can't be any more.
func (r *run) unusable(t topic) error {
	if t.partitions > 0 {
		return ErrNotApplied.New("%s was published to, and has no schema any more", t.full).
			Fix("Find out who deleted its schemas. With its former routes `runnel schemas apply` registers them anew.")
	}
	return Deleted(t.full)
}

// loadRecorded is loadTopic for a topic that was published to with so many partitions; 0: it was not.
func (r *run) loadRecorded(ctx context.Context, name string, events []*schemas.EventType, recorded int) (topic, error) {
	t, err := r.loadTopic(ctx, name, events)
	if errors.Is(err, ErrNotApplied) && isTopicMissing(err) && recorded > 0 {
		return t, Deleted(t.full)
	}
	if err != nil {
		return t, err
	}
	return t, r.keepCount(&t, recorded)
}

// loadTopic reads a topic that events of the catalog go to; or, with none, one that
// only registered types go to: without a codec when it is not there.
func (r *run) loadTopic(ctx context.Context, name string, events []*schemas.EventType) (topic, error) {
	t := topic{local: name, full: wire.TopicName(r.cfg.Namespace, name)}
	var err error
	t.partitions, err = r.client.Partitions(ctx, t.full)
	switch {
	case len(events) == 0 && (isTopicMissing(err) || err == nil && t.partitions == 0):
		return t, nil
	case err != nil:
		return t, notApplied(err, t.full)
	case t.partitions == 0:
		return t, unpartitioned(t.full)
	}
	versions, err := r.registry.Versions(ctx, t.full)
	if err != nil || len(events) == 0 && len(versions) == 0 {
		return t, err
	}
	if err := covers(versions, events, t.full); err != nil {
		return t, err
	}
	codec, err := schemas.NewTopicCodec(versions)
	if err != nil {
		return t, err
	}
	t.codec = &liveCodec{codec, func() (*schemas.TopicCodec, error) { return r.readCodec(r.life, t.full) }}
	newest := versions[len(versions)-1]
	t.newest, t.retired = brokerSchema(newest), newest.Retired()
	return t, nil
}

// keepCount makes the number of a topic's partitions the one that the pipeline has
// published with. What somebody adds later stays empty: with another number, an
// aggregate's next events would go elsewhere, and have no order with those before.
func (r *run) keepCount(t *topic, recorded int) error {
	switch {
	case recorded == 0 || t.codec == nil || recorded == t.partitions:
		return nil
	case t.partitions < recorded:
		return broker.ErrPartitionCount.New("it has %d partitions, and %d were published to: it was deleted and made anew", t.partitions, recorded).At("%s", t.full).
			Fix("Find out who deleted the topic, and whether its events are kept anywhere; do not publish to it.")
	}
	r.log.Warn("the topic was given more partitions: they stay empty, so that the events of an aggregate keep their order",
		"topic", t.full, "partitions", t.partitions, "published_to", recorded)
	t.partitions = recorded
	return nil
}

// registeredTopics returns the topics of the types that writers may publish, or could. They may
// be more than the catalog's: `schemas apply` may have been run with a newer one, and
// rows of a type that was withdrawn since may be in the WAL still, be it that they
// were not captured yet or not confirmed, or that their writer commits late. recorded
// has the number of partitions of the topics that were published to, by full name.
func (r *run) registeredTopics(ctx context.Context) (names []string, recorded map[string]int, err error) {
	db, err := r.connect(ctx)
	if err != nil {
		r.log.Debug("the registered event types were not read", "error", err)
		return nil, nil, nil // capture.Open says what is wrong with the server
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	types, err := outbox.EventTypes(ctx, db)
	if err != nil {
		return nil, nil, err
	}
	if recorded, err = outbox.PublishedPartitions(ctx, db, r.cfg.Name); err != nil {
		return nil, nil, err
	}
	for _, full := range slices.Sorted(maps.Keys(recorded)) {
		name, ok := strings.CutPrefix(full, wire.TopicName(r.cfg.Namespace, ""))
		if !ok {
			return nil, nil, ErrNamespaceChanged.New("it has published to %s, and topics.namespace is %s", full, r.cfg.Namespace)
		}
		if !deadletter.IsTopic(name) {
			names = append(names, name)
		}
	}
	for _, e := range types {
		if name := r.routes.Explain(e.AggregateType, e.Name).Topic; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, recorded, nil
}

// readCodec returns a topic's codec as the registry has it now.
func (r *run) readCodec(ctx context.Context, topic string) (*schemas.TopicCodec, error) {
	ctx, cancel := context.WithTimeout(ctx, readCodecLimit)
	defer cancel()
	versions, err := r.registry.Versions(ctx, topic)
	if err != nil && fault.Find(err) == nil {
		err = schemas.ErrRegistryUnreachable.Wrap(err, "looking for a newer version").At("%s", topic)
	}
	if err != nil {
		return nil, err
	}
	r.log.Info("an event is not known: read the registry again", "topic", topic, "versions", len(versions))
	return schemas.NewTopicCodec(versions)
}

// covers checks that a topic's registered schemas hold the catalog's events.
func covers(versions []*schemas.TopicSchema, events []*schemas.EventType, topic string) error {
	have := make(map[schemas.Fingerprint]bool)
	for _, v := range versions {
		for _, b := range v.Events() {
			have[b.Fingerprint] = true
		}
	}
	for _, e := range events {
		if !have[e.Fingerprint] {
			return ErrNotApplied.New("no registered schema holds event %s as the catalog has it", e.Name).At("%s", topic)
		}
	}
	return nil
}

func unpartitioned(topic string) error {
	return broker.ErrTopicMissing.New("the topic exists, but is not partitioned").At("%s", topic).
		Fix("Delete the topic, or route the events to another one: Runnel's topics are partitioned from the start.")
}
