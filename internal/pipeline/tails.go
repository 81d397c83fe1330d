package pipeline

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

// settleTails waits until all that was ever sent to the partitions is in them, or never
// will be, and returns their last messages.
func (r *run) settleTails(ctx context.Context) (map[broker.Partition]position.Stamp, error) {
	var mu sync.Mutex
	tails := make(map[broker.Partition]position.Stamp)
	_, err := r.eachTail(ctx, func(_ context.Context, p broker.Partition, tail position.Stamp) error {
		mu.Lock()
		defer mu.Unlock()
		tails[p] = tail
		return nil
	})
	return tails, err
}

// errStillStored is no fault: somebody's messages were stored late.
var errStillStored = errors.New("the topics grew while they were read: start over")

// eachTail acquires each partition once, so that nobody adds to it meanwhile, and tells do
// of its last message, of several at a time. newest is the greatest epoch of these.
func (r *run) eachTail(ctx context.Context, do func(ctx context.Context, p broker.Partition, tail position.Stamp) error) (newest uint32, err error) {
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(acquireAtOnce)
	for _, p := range r.everyPartition() {
		group.Go(func() error {
			tail, err := r.exclusiveTail(ctx, p)
			if err != nil {
				return err
			}
			mu.Lock()
			newest = max(newest, tail.Epoch)
			mu.Unlock()
			return do(ctx, p, tail)
		})
	}
	err = group.Wait()
	return newest, err
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
