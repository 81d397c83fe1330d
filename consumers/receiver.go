package consumers

import (
	"context"
	"log/slog"
	"sync"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// receiver keeps a failover subscription to one partition open and hands on
// what it delivers. One goroutine only receives, up to the inbox's bounds; the
// other processes and acknowledges, in order.
type receiver struct {
	client       broker.Client
	partition    broker.Partition
	subscription string
	maxCount     int
	maxBytes     int
	log          *slog.Logger
	sleep        sleeper
	connected    func(bool)
	// process works off a batch; ack tells the broker, up to and including a
	// message, and may be called as it goes. Its error ends the receiver.
	process func(ctx context.Context, batch []*broker.Incoming, ack func(broker.MessageID)) error
}

// run returns when ctx ends, or with the error of process.
func (r *receiver) run(ctx context.Context) error {
	opening := outage{what: "subscribing to " + r.partition.String(), log: r.log, sleep: r.sleep}
	receiving := outage{what: "receiving from " + r.partition.String(), log: r.log, sleep: r.sleep}
	for {
		consumer, err := r.client.Subscribe(ctx, r.partition, r.subscription)
		if err != nil {
			if err := opening.wait(ctx, err); err != nil {
				return err
			}
			continue
		}
		opening.over()
		r.connected(true)
		lost, err := r.consume(ctx, consumer, &receiving)
		consumer.Close()
		r.connected(false)
		if err != nil {
			return err
		}
		if err := receiving.wait(ctx, lost); err != nil {
			return err
		}
	}
}

// consume works with one consumer until it fails (lost) or processing ends.
func (r *receiver) consume(ctx context.Context, consumer broker.Consumer, receiving *outage) (lost, err error) {
	receiveCtx, cancel := context.WithCancel(ctx)
	box := newInbox(r.maxCount, r.maxBytes)
	var receiver sync.WaitGroup
	receiver.Go(func() {
		for {
			m, err := consumer.Receive(receiveCtx)
			if err == nil {
				err = box.put(receiveCtx, m)
			}
			if err != nil {
				box.fail(err)
				return
			}
		}
	})
	defer receiver.Wait()
	defer cancel()
	ack := func(id broker.MessageID) {
		// A lost acknowledgement is harmless: what comes again is skipped.
		if err := consumer.Ack(id); err != nil {
			r.log.Debug("acknowledging failed", keyTopic, r.partition.Topic, keyPartition, r.partition.Index, keyError, err)
		}
	}
	for {
		batch, broken := box.take(ctx)
		if broken != nil {
			return broken, ctx.Err()
		}
		receiving.over()
		if err := r.process(ctx, batch, ack); err != nil {
			return nil, err
		}
	}
}
