package pipeline

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

// tails are the last messages of partitions, that of an empty one with the ordinal 0.
type tails map[broker.Partition]position.Stamp

// toSave returns those that there are, but of partitions that go on behind what they have
// lost: see loop.keep. The slot has passed nothing that is there.
func (r *run) toSave(t tails) []capture.PartitionTail {
	goesOn := make(map[broker.Partition]bool)
	for _, saved := range r.saved.Tails {
		goesOn[broker.Partition{Topic: saved.Topic, Index: saved.Partition}] = saved.GoesOn()
	}
	var all []capture.PartitionTail
	for p, last := range t {
		if last.Ordinal > 0 && !goesOn[p] {
			all = append(all, capture.PartitionTail{Topic: p.Topic, Partition: p.Index, Last: last})
		}
	}
	return all
}

// settleTails waits until all that was ever sent to the partitions is in them, or never
// will be, and returns their last messages.
func (r *run) settleTails(ctx context.Context) (tails, error) {
	return r.eachTail(ctx, func(context.Context, broker.Partition, position.Stamp) error { return nil })
}

// errStillStored is no fault: somebody's messages were stored late.
var errStillStored = errors.New("the topics grew while they were read: start over")

// eachTail acquires each partition once, so that nobody adds to it meanwhile, and tells do
// of its last message, of several at a time. It returns all of them.
func (r *run) eachTail(ctx context.Context, do func(ctx context.Context, p broker.Partition, tail position.Stamp) error) (tails, error) {
	var mu sync.Mutex
	all := make(tails)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(acquireAtOnce)
	for _, p := range r.everyPartition() {
		group.Go(func() error {
			tail, err := r.exclusiveTail(ctx, p)
			if err != nil {
				return err
			}
			mu.Lock()
			all[p] = tail
			mu.Unlock()
			return do(ctx, p, tail)
		})
	}
	return all, group.Wait()
}

// exclusiveTail returns a partition's last message, as it is with nobody publishing there. A
// daemon waits for whoever does; a repair, of which somebody awaits the end, not for ever.
func (r *run) exclusiveTail(ctx context.Context, p broker.Partition) (position.Stamp, error) {
	if r.repairs {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, repairWait, errRepairWait)
		defer cancel()
	}
	schema, err := r.schemaOf(ctx, p.Topic)
	if err != nil {
		return position.Stamp{}, err
	}
	producer, tail, err := r.client.Acquire(ctx, broker.AcquireRequest{
		Partition: p, Producer: r.producerName(), Replayed: position.Beyond, Schema: schema, Foreign: r.foreign, Resumed: r.resumed(p),
	}, func(holder string) { r.report.waiting(p.String(), holder) })
	if errors.Is(err, broker.ErrTopicMissing) {
		return position.Stamp{}, nil // what was deleted holds nothing
	}
	if err != nil {
		return position.Stamp{}, err
	}
	producer.Close()
	r.report.acquired(p.String())
	return tail.Stamp, nil
}

// eachOwn tells do of every message of the pipeline's that a partition holds at or above a
// position, and maybe of some below; from position.Beyond on, of the last one at most.
func (r *run) eachOwn(ctx context.Context, p broker.Partition, from position.Position, do func(position.Stamp, *broker.Incoming) error) error {
	reader, err := r.client.ReadSince(ctx, p, from, r.producerName())
	if err != nil {
		return err
	}
	return broker.ReadRest(ctx, reader, func(m *broker.Incoming) error {
		stamp, err := r.stamp(m)
		if err != nil || stamp.Ordinal == 0 {
			return err
		}
		return do(stamp, m)
	})
}
