package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/deadletter/letterbox"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/router"
)

// loadDeadLetters adds the dead-letter topic to the others, as the last, if the pipeline
// has one: it must when it parks, or ever did.
func (r *run) loadDeadLetters(ctx context.Context, recorded map[string]int) error {
	t := topic{local: deadletter.Topic(r.cfg.Name), partitions: 1}
	t.full = wire.TopicName(r.cfg.Namespace, t.local)
	n, err := r.client.Partitions(ctx, t.full)
	missing := isTopicMissing(err) || err == nil && n == 0
	switch {
	case missing && recorded[t.full] > 0:
		return router.ErrNoDeadLetters.Wrap(err, "it was there before").At("%s", t.full)
	case missing && r.cfg.Park:
		return ErrNotApplied.Wrap(err, "the pipeline's dead-letter topic is missing").At("%s", t.full)
	case missing:
		return nil
	case err != nil:
		return err
	}
	r.topics, r.letters = append(r.topics, t), true
	return nil
}

// isDeadLetters reports whether a partition is the dead-letter topic's.
func (r *run) isDeadLetters(p broker.Partition) bool {
	return p.Topic == wire.TopicName(r.cfg.Namespace, deadletter.Topic(r.cfg.Name))
}

// deadLetters is what the router is told of the policy.
func (r *run) deadLetters() *router.DeadLetters {
	if !r.letters {
		return nil
	}
	return &router.DeadLetters{Park: r.cfg.Park, Limit: r.cfg.ParkedLimit, Unknown: r.mayBeKnown}
}

// takeDeadLetters makes this run the one that parks, and tells the state what is parked.
// The slot is ours, and nothing is decided before.
func (r *run) takeDeadLetters(ctx, hard context.Context, l *loop) error {
	id, ok := l.state.DeadLetterLane()
	if !ok {
		return nil
	}
	ln := l.lanes[id]
	p := ln.partition
	producer, tail, err := r.client.Acquire(ctx, broker.AcquireRequest{
		Partition: p, Producer: l.name, Replayed: l.start, History: l.history, Foreign: r.foreign, Resumed: r.resumed(p),
	}, func(holder string) { r.report.waiting(p.String(), holder) })
	if err != nil {
		return err
	}
	ln.producer = producer // which the loop closes
	l.used[ln.topic].Store(true)
	r.report.acquired(p.String())
	l.watch(hard, producer, p)
	if err := l.usable(ctx, p, tail.Stamp); err != nil {
		return err
	}
	found, err := l.heldBy(ln, tail)
	if err != nil {
		return err
	}
	c, err := letterbox.Read(ctx, letterbox.Topic{Broker: r.client, Partition: p, Producer: r.producerName(), Stamp: r.stamp}, l.start, l.history, nil)
	if err != nil {
		return err
	}
	if c.Log.Len() > 0 {
		r.log.Warn("events are parked", "events", c.Log.Len(), "aggregates", c.Log.Keys(), "topic", p.Topic, "see", parkedCommand)
	}
	return l.state.Recover(found, c.Log, c.Held)
}

// parkedCommand shows what is parked.
const parkedCommand = "runnel dlq list --pipeline"

// mayBeKnown ends the run when an event that this run does not know may be known to the
// next: its topic, or the catalog's folder where that is applied without being asked, may
// have it by now. That is tried once in a while for each type, so that an event that is
// wrong can't keep the pipeline from going on.
func (r *run) mayBeKnown(aggregateType, eventType, local string) error {
	key := aggregateType + "\x00" + eventType
	if tried, ok := r.tried[key]; ok && time.Since(tried) < r.cfg.Recheck {
		return nil
	}
	known, err := r.knownNow(aggregateType, eventType, local)
	if err != nil || !known {
		return err
	}
	r.tried[key] = time.Now()
	return fmt.Errorf("event %s of aggregate type %s was not known when the run began: starting over to publish it", eventType, aggregateType)
}

func (r *run) knownNow(aggregateType, eventType, local string) (bool, error) {
	if r.cfg.AutoApply {
		catalog, err := wire.Catalog(r.cfg.Schemas)
		if err != nil {
			return false, err
		}
		if e, ok := catalog.Event(eventType); ok && e.AggregateType == aggregateType {
			return true, nil
		}
	}
	for i := range r.topics {
		if r.topics[i].local == local {
			return false, nil // its codec has asked the registry
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), readCodecLimit)
	defer cancel()
	n, err := r.client.Partitions(ctx, wire.TopicName(r.cfg.Namespace, local))
	if isTopicMissing(err) {
		return false, nil
	}
	return n > 0, err
}

// parkedIDs are the events that the dead-letter topic accounts for: those that are parked,
// and those that were discarded. One that was released to be published is accounted for by
// its topic, or it is missing.
type parkedIDs map[[16]byte]bool

func (ids parkedIDs) add(at position.Position, m *broker.Incoming) error {
	if m.Properties[router.PropertyType] == deadletter.EventParked {
		e, err := deadletter.ParseEntry(at, m.Properties)
		ids[e.ID] = true
		return err
	}
	release, err := deadletter.ParseRelease(m.Payload)
	if err != nil {
		return err
	}
	released, err := release.Entries()
	for _, e := range released {
		if !release.Discard {
			delete(ids, e.ID)
		}
	}
	return err
}

func (ids parkedIDs) each(found func([16]byte) error) error {
	for id := range ids {
		if err := found(id); err != nil {
			return err
		}
	}
	return nil
}

// tell logs what the state has parked and released.
func (l *loop) tell() {
	ready := l.state.Ready()
	for _, n := range ready.Notices {
		if e := n.Letter; e != nil {
			level := slog.LevelWarn
			if e.Code == router.ErrBehind.ID {
				level = slog.LevelInfo // the one before it was warned of
			}
			l.log.Log(context.Background(), level, "parked an event", "position", e.Position, "type", e.EventType, "aggregate_type", e.Key.AggregateType,
				"aggregate_id", e.Key.AggregateID, "code", e.Code, "reason", e.Reason, "see", parkedCommand)
		}
		if d := n.Released; d != nil {
			what := "released parked events to be published"
			if d.Discard {
				what = "discarded parked events"
			}
			l.log.Info(what, "events", len(d.Released), "aggregate_type", d.AggregateType, "aggregate_id", d.AggregateID, "still_parked", n.Left)
		}
	}
	clear(ready.Notices)
	ready.Notices = ready.Notices[:0]
}
