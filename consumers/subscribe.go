package consumers

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/readerinfo"
)

// Bounds of what Subscribe holds of a partition.
const (
	subscribeCount = 100
	subscribeBytes = 4 << 20
)

// Subscribe hands every message of topics to h, in the order of each partition
// and concurrently across partitions, until ctx ends, and then returns nil. It
// keeps nothing but the subscription called name, which begins at the start of
// the topics when it is new; topics are as in Config.
//
// It delivers at least once: a message comes again after a crash or a change
// of instances, and h must bear that (a Projection does). A failing message is
// retried as Retry's defaults say, while its partition waits; Discard and
// RetryAfter are obeyed. What Pulsar leaves out of a subscription is not
// noticed: 4.0.8 may, when it hands a partition with unacknowledged messages
// from one instance to another. A Projection reads such messages from the topic.
//
// It ends with ErrForeignMessage at a message that Runnel did not write; PassOver is
// the way past it.
func Subscribe(ctx context.Context, b BrokerConfig, name string, topics []string, h func(context.Context, Message) error, options ...SubscribeOption) error {
	return subscribe(ctx, b, name, topics, h, sleep, options...)
}

// SubscribeOption changes what Subscribe does.
type SubscribeOption func(*subscribeOptions)

type subscribeOptions struct{ foreign []string }

// PassOver lists messages that are passed over although Runnel did not write them,
// each as ErrForeignMessage names it; it is for Subscribe what Config.Foreign is for a
// Projection.
func PassOver(foreign ...string) SubscribeOption {
	return func(o *subscribeOptions) { o.foreign = append(o.foreign, foreign...) }
}

func subscribe(ctx context.Context, b BrokerConfig, name string, topics []string, h func(context.Context, Message) error, sleep sleeper, options ...SubscribeOption) error {
	var o subscribeOptions
	for _, set := range options {
		set(&o)
	}
	b = b.WithDefaults()
	b.name, b.reader = instance(name), readerinfo.Info{Name: name}
	full, err := topicNames(DefaultNamespace, topics)
	switch {
	case err != nil:
		return err
	case name == "":
		return ErrConfig.New("Subscribe needs a name for its subscription")
	case len(topics) == 0:
		return ErrConfig.New("Subscribe needs topics")
	case h == nil:
		return ErrConfig.New("Subscribe needs a handler")
	}
	if err := b.validate(); err != nil {
		return err
	}
	listed, err := parseForeign("PassOver", o.foreign)
	if err != nil {
		return err
	}
	client, registry, err := b.open(ctx, sleep)
	if err != nil {
		return ended(ctx, err)
	}
	defer client.Close()
	codec := newCodec(registry)
	group, inner := errgroup.WithContext(ctx)
	for _, topic := range full {
		group.Go(func() error {
			count, err := waitPartitions(inner, client, topic, b.Logger, sleep)
			if err != nil {
				return err
			}
			for i := range count {
				of := broker.Partition{Topic: topic, Index: i}
				l := loop{
					codec: codec, foreign: newForeigners(codec, listed, b.Logger), h: h, sleep: sleep, retry: Retry{}.withDefaults(),
					registry: outage{what: "fetching a schema", log: b.Logger, sleep: sleep},
				}
				r := receiver{
					client: client, partition: of, subscription: name,
					maxCount: subscribeCount, maxBytes: subscribeBytes,
					log: b.Logger, sleep: sleep, connected: func(bool) {}, process: l.process, silence: silentLast,
				}
				group.Go(func() error { return r.run(inner) })
			}
			return nil
		})
	}
	return ended(ctx, group.Wait())
}

// loop is Subscribe's way with one partition.
type loop struct {
	codec    *codec
	foreign  foreigners
	h        func(context.Context, Message) error
	sleep    sleeper
	retry    Retry
	registry outage
}

func (l *loop) process(ctx context.Context, batch []*broker.Incoming, link *link) error {
	for i, in := range batch {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m, _, err := l.codec.read(in)
		if err != nil && l.foreign.passes(in) {
			link.ack(in.ID)
			continue
		}
		if err != nil {
			return l.foreign.remedy(err, batch[i:])
		}
		for {
			err := l.codec.prepare(ctx, &m)
			if err == nil {
				l.registry.over()
				break
			}
			if err := l.registry.wait(ctx, err); err != nil {
				return err
			}
		}
		if err := l.handle(ctx, m); err != nil {
			return err
		}
		link.ack(in.ID)
	}
	return nil
}

// handle calls the handler until it is content.
func (l *loop) handle(ctx context.Context, m Message) error {
	log := l.registry.log.With(keyTopic, m.Topic, keyPartition, m.Partition, keyPosition, m.Position.String(),
		keyEventID, m.ID, keyEventType, m.Type)
	var quiet time.Duration
	for tries := 1; ; tries++ {
		err := caught(func() error { return l.h(m.Context(ctx), m) })
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d, ok := errors.AsType[*discarded](err); ok {
			log.Warn("event discarded", keyError, d.err)
			return nil
		}
		pause := l.retry.pause(tries, err)
		if quiet += pause; tries == 1 || quiet >= outageLog {
			quiet = 0
			attrs := append([]any{keyTries, tries, keyPause, pause}, explain(err)...)
			log.Error("event failed, its partition waits", attrs...)
		}
		if err := l.sleep(ctx, pause); err != nil {
			return err
		}
	}
}
