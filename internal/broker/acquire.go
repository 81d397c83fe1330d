package broker

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
	"github.com/runnel-cdc/runnel/internal/failpoint"
)

// Acquire implements Client. The order of its steps is the proof:
//
//  1. become exclusive: from here on nobody else can add;
//  2. settle: adds that earlier owners had queued are in, or never come;
//  3. read the tail, and back to what will be replayed;
//  4. the first message proves by its place that nothing slipped in between.
func (p *Pulsar) Acquire(ctx context.Context, r AcquireRequest, waiting func(holder string)) (Producer, Tail, error) {
	if err := p.checkPartition(ctx, r.Partition); err != nil {
		return nil, Tail{}, err
	}
	q := newProducer(p, r.Partition, r.Producer, limits{})
	if err := p.exclusive(ctx, r, q, waiting); err != nil {
		return nil, Tail{}, err
	}
	failpoint.Hit("broker.exclusive")

	var size int // asked for now: the wait may have been long
	var settled ledgerStats
	checks, checking := errgroup.WithContext(ctx)
	checks.Go(func() error { return p.checkDeduplication(checking, r.Partition) })
	checks.Go(func() (err error) {
		settled, err = p.settle(checking, r.Partition)
		return err
	})
	checks.Go(func() (err error) {
		size, err = p.MaxMessageSize(checking, r.Partition.Topic)
		return err
	})
	err := checks.Wait()
	q.Resize(size)
	failpoint.Hit("broker.settled")
	var tail Tail
	if err == nil {
		tail, err = p.readTail(ctx, r.Partition, settled, r)
	}
	if lost := q.Err(); err == nil && lost != nil {
		err = lost
	}
	if err != nil {
		q.Close()
		return nil, Tail{}, err
	}
	tail.MaxMessageSize = size
	q.verify = p.probeCheck(r.Partition, settled)
	failpoint.Hit("broker.tail") // known, and nothing sent yet
	return q, tail, nil
}

const (
	firstWait = 100 * time.Millisecond
	longWait  = 2 * time.Second
)

// exclusive makes q the partition's one producer and starts it, waiting while
// another holds the partition. Access mode Exclusive with a loop of our own, not
// WaitForExclusive: a paused daemon that waits at the broker is promoted when
// its successor dies, and goes on where it was.
func (p *Pulsar) exclusive(ctx context.Context, r AcquireRequest, q *producer, waiting func(holder string)) error {
	request := wire.ProducerRequest{Topic: r.Partition.String(), Name: r.Producer, Schema: r.Schema.onWire()}
	told := ""
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		link, err := p.wire.Producer(ctx, request, q)
		if err == nil {
			return q.start(link, r.Schema)
		}
		err = clientFault(err, "%s: becoming its producer", r.Partition)
		if !errors.Is(err, ErrNotOwner) {
			return err
		}
		// A broker may keep a producer of a topic that was terminated while it
		// sent; no wait ends that.
		if now, err := p.internalStats(ctx, r.Partition); err == nil && now.State == stateTerminated {
			return ErrTopicTerminated.New("%s", r.Partition)
		}
		holder := p.holder(ctx, r.Partition)
		if waiting != nil && holder != told {
			waiting(holder)
			told = holder
		}
		if !sleep(ctx, wait) {
			return ErrNotOwner.Wrap(context.Cause(ctx), "%s is held by %s", r.Partition, holder)
		}
	}
}

// holder describes who holds a partition, as well as the broker knows.
func (p *Pulsar) holder(ctx context.Context, q Partition) string {
	stats, err := p.stats(ctx, q)
	switch {
	case err != nil:
		return "a producer that could not be named (" + err.Error() + ")"
	case len(stats.Publishers) == 0:
		return "a producer that just left"
	}
	return stats.Publishers[0].String()
}

// checkDeduplication waits for the broker to report the topic's deduplication
// as in effect.
func (p *Pulsar) checkDeduplication(ctx context.Context, q Partition) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.OperationTimeout)
	defer cancel()
	for wait := 5 * time.Millisecond; ; wait *= 2 {
		stats, err := p.stats(ctx, q)
		if err != nil {
			return err
		}
		switch stats.Deduplication {
		case "Enabled":
			return nil
		case "Initialized", "Recovering":
			if sleep(ctx, wait) {
				continue
			}
			// On its way: what a person could do is done already.
			return ErrNotReady.New("%s: its deduplication is %q after %s", q, stats.Deduplication, p.cfg.OperationTimeout)
		}
		namespace, _ := splitTopic(q.Topic)
		return ErrDeduplicationOff.New("%s: its deduplication is %q", q, stats.Deduplication).
			Fix("Run `pulsar-admin namespaces set-deduplication %s --enable`.", namespace)
	}
}
