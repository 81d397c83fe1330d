package pipeline

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// topic is a topic that the catalog's events go to.
type topic struct {
	local      string // name within the namespace
	full       string // persistent://tenant/namespace/local
	partitions int
	codec      *schemas.TopicCodec
	newest     *broker.Schema
	maxBytes   int    // largest message; known once a lane was acquired
	published  uint64 // acknowledged in this run
}

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
// checks that it is enough to publish every event of the catalog.
func (r *run) loadTopics(ctx context.Context, c *schemas.Catalog) ([]topic, error) {
	if len(c.Events()) == 0 {
		return nil, ErrNoEvents.New("%s holds no record with the property \"aggregate\"", r.cfg.Schemas)
	}
	names, events := plan(c, r.routes)
	topics := make([]topic, 0, len(names))
	for _, name := range names {
		t := topic{local: name, full: wire.TopicName(r.cfg.Namespace, name)}
		var err error
		if t.partitions, err = r.client.Partitions(ctx, t.full); err != nil {
			return nil, notApplied(err, t.full)
		}
		if t.partitions == 0 {
			return nil, unpartitioned(t.full)
		}
		versions, err := r.registry.Versions(ctx, t.full)
		if err != nil {
			return nil, err
		}
		if err := covers(versions, events[name], t.full); err != nil {
			return nil, err
		}
		if t.codec, err = schemas.NewTopicCodec(versions); err != nil {
			return nil, err
		}
		t.newest = brokerSchema(versions[len(versions)-1])
		topics = append(topics, t)
	}
	return topics, nil
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
