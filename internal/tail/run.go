package tail

import (
	"context"
	"errors"
	"path"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

// MaxLast bounds Options.Last: so many messages are held in memory.
const MaxLast = 100_000

// Options say what to show.
type Options struct {
	Topics []string // full names of partitioned topics
	Type   string   // glob on the event type; "" for all
	Key    string   // "" for all
	Last   int      // the last so many that pass the filters, unless All
	All    bool     // everything at or above From
	From   position.Position
	Follow bool // go on until the context ends
}

// Broker is what Run reads from: broker.Pulsar, or a fake.
type Broker interface {
	Read(ctx context.Context, p broker.Partition, from broker.Start) (broker.Reader, error)
	ReadSince(ctx context.Context, p broker.Partition, from position.Position, producer string) (broker.Reader, error)
	Partitions(ctx context.Context, topic string) (int, error)
	REST
}

// source is one partition that is read.
type source struct {
	partition broker.Partition
	reader    broker.Reader
	head      *broker.Incoming // read, not yet shown
	stamp     position.Stamp   // of head; zero if it has none
	done      bool             // everything that was there at the start was read
	first     *position.Stamp  // of the first message read; nil before that
	whole     bool             // the reader began at the partition's beginning
}

// Run calls show for each event, one at a time, first for those that are there,
// in the order of their positions, then, with Follow, for those to come as they
// arrive, until ctx ends. Errors: show's; those of the broker, such as
// broker.ErrTopicMissing; ctx's cause.
func Run(ctx context.Context, b Broker, o Options, show func(*broker.Incoming) error) error {
	partitions, err := partitionsOf(ctx, b, o.Topics)
	if err != nil {
		return err
	}
	var sources []*source
	defer func() { closeAll(sources) }()
	if o.All {
		sources, err = open(ctx, b, partitions, o, 0)
		if err == nil {
			err = merge(ctx, sources, time.Now(), func(s *source) error { return o.pass(s, show) })
		}
	} else {
		sources, err = showLast(ctx, b, partitions, o, show)
	}
	if err != nil || !o.Follow {
		return err
	}
	return follow(ctx, sources, o, show)
}

func partitionsOf(ctx context.Context, b Broker, topics []string) ([]broker.Partition, error) {
	var all []broker.Partition
	for _, topic := range topics {
		n, err := b.Partitions(ctx, topic)
		if namespace, local, ok := split(topic); ok && errors.Is(err, broker.ErrTopicMissing) {
			return nil, missing(ctx, b, topic, broker.ErrTopicMissing.New("the namespace %s has no topic %s", namespace, local))
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, missing(ctx, b, topic, broker.ErrTopicMissing.New("%s is not partitioned, so it is none of Runnel's", topic))
		}
		for i := range n {
			all = append(all, broker.Partition{Topic: topic, Index: i})
		}
	}
	return all, nil
}

// showLast looks for the last N that pass the filters in a part of each
// partition's end, which grows until it holds enough.
func showLast(ctx context.Context, b Broker, partitions []broker.Partition, o Options, show func(*broker.Incoming) error) ([]*source, error) {
	for back := int64(o.Last); ; back *= 4 {
		sources, err := open(ctx, b, partitions, o, back)
		if err != nil {
			return sources, err
		}
		last := make([]*broker.Incoming, 0, min(o.Last, 1024))
		oldest := 0
		err = merge(ctx, sources, time.Now(), func(s *source) error {
			switch {
			case !o.matches(s.head) || o.Last == 0:
			case len(last) < o.Last:
				last = append(last, s.head)
			default: // a ring: the oldest gives way
				last[oldest] = s.head
				oldest = (oldest + 1) % o.Last
			}
			return nil
		})
		if err != nil {
			return sources, err
		}
		if !enough(sources, last, oldest, o.Last) {
			closeAll(sources)
			continue
		}
		for i := range last {
			if err := show(last[(oldest+i)%len(last)]); err != nil {
				return sources, err
			}
		}
		return sources, nil
	}
}

// open opens a reader for each partition: at Options.From, or so many entries
// (each at least one message) before the end.
func open(ctx context.Context, b Broker, partitions []broker.Partition, o Options, back int64) ([]*source, error) {
	sources := make([]*source, len(partitions))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, p := range partitions {
		group.Go(func() error {
			s := &source{partition: p}
			var err error
			switch {
			case o.All && o.From == position.Position{}:
				s.reader, err = b.Read(groupCtx, p, broker.Start{})
			case o.All:
				s.reader, err = b.ReadSince(groupCtx, p, o.From, "")
			default:
				var start broker.Start
				if start, s.whole, err = startBefore(groupCtx, b, p, back); err == nil {
					s.reader, err = b.Read(groupCtx, p, start)
				}
			}
			if err == nil {
				sources[i] = s
			}
			return err
		})
	}
	err := group.Wait()
	if err != nil {
		closeAll(sources)
		return nil, err
	}
	return sources, nil
}

func closeAll(sources []*source) {
	for _, s := range sources {
		if s != nil && s.reader != nil {
			s.reader.Close()
			s.reader = nil
		}
	}
}

// enough reports whether the ring holds the last n that there are: nothing that
// was not read can be newer than the oldest in it.
func enough(sources []*source, ring []*broker.Incoming, oldest, n int) bool {
	if n == 0 {
		return true
	}
	var least position.Stamp // zero: everything must have been read
	if len(ring) == n {
		least, _ = ring[oldest].Stamp()
	}
	for _, s := range sources {
		if !s.whole && (s.first == nil || least.Less(s.first.Position)) {
			return false
		}
	}
	return true
}

// merge calls take for each message that was published before until, lowest
// position first. A later one stays in its source's head, for follow.
func merge(ctx context.Context, sources []*source, until time.Time, take func(*source) error) error {
	for {
		var least *source
		for _, s := range sources {
			if err := s.fill(ctx, until); err != nil {
				return err
			}
			if !s.done && (least == nil || s.stamp.Less(least.stamp.Position)) {
				least = s
			}
		}
		if least == nil {
			return nil
		}
		if err := take(least); err != nil {
			return err
		}
		least.head = nil
	}
}

// fill reads the next message into head, or finds that there is none.
func (s *source) fill(ctx context.Context, until time.Time) error {
	if s.done || s.head != nil {
		return nil
	}
	more, err := s.reader.HasNext(ctx)
	if err != nil || !more {
		s.done = true
		return err
	}
	if s.head, err = s.reader.Next(ctx); err != nil {
		return err
	}
	s.done = s.head.PublishTime.After(until)
	s.stamp, _ = s.head.Stamp() // one that is not Runnel's has none, and is shown first
	if s.first == nil {
		first := s.stamp
		s.first = &first
	}
	return nil
}

// follow shows messages as they arrive, one goroutine a partition reading and
// this one showing.
func follow(ctx context.Context, sources []*source, o Options, show func(*broker.Incoming) error) error {
	group, groupCtx := errgroup.WithContext(ctx)
	arrived := make(chan *broker.Incoming)
	for _, s := range sources {
		group.Go(func() error {
			for {
				m := s.head
				s.head = nil
				if m == nil {
					var err error
					if m, err = s.reader.Next(groupCtx); err != nil {
						return err
					}
				}
				select {
				case arrived <- m:
				case <-groupCtx.Done():
					return context.Cause(groupCtx)
				}
			}
		})
	}
	group.Go(func() error {
		for {
			select {
			case m := <-arrived:
				if !o.matches(m) {
					continue
				}
				if err := show(m); err != nil {
					return err
				}
			case <-groupCtx.Done():
				return context.Cause(groupCtx)
			}
		}
	})
	err := group.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// pass shows a source's head if it is wanted.
func (o Options) pass(s *source, show func(*broker.Incoming) error) error {
	if s.stamp.Less(o.From) || !o.matches(s.head) {
		return nil
	}
	return show(s.head)
}

func (o Options) matches(m *broker.Incoming) bool {
	if o.Key != "" && m.Key != o.Key {
		return false
	}
	if o.Type == "" {
		return true
	}
	ok, _ := path.Match(o.Type, m.Properties[propertyType]) // the glob was checked
	return ok
}
