package consumers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

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
	// process works off a batch and acknowledges as it goes. Its error ends the
	// receiver; a *lost only the connection.
	process func(ctx context.Context, batch []*broker.Incoming, link *link) error
	// silent, if any, is called when the consumer is active and got nothing for
	// a while. It reports whether it should have.
	silent func(ctx context.Context, link *link) (bool, error)
	// silence is the pause before silent is first called.
	silence time.Duration
	// redrive, if any, tries parked events again; it is called when the consumer is
	// active and redriveIn says that it is time.
	redrive   func(context.Context) error
	redriveIn func() time.Duration
	// waiting, if any, is called when what was received has been worked off, before
	// the wait for more: at most for d, when something else is due.
	waiting func(d time.Duration)
}

// link is one consumer's connection to a partition.
type link struct {
	consumer broker.Consumer
	log      *slog.Logger
}

// ack acknowledges up to and including a message. Losing it is harmless: what
// comes again is skipped.
func (l *link) ack(id broker.MessageID) {
	if err := l.consumer.Ack(id); err != nil {
		l.log.Debug("acknowledging failed", keyError, err)
	}
}

// lost is an error of the connection to the broker, met while processing.
type lost struct{ err error }

func (l *lost) Error() string { return l.err.Error() }
func (l *lost) Unwrap() error { return l.err }

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
		err = r.consume(ctx, consumer, &receiving)
		consumer.Close()
		r.connected(false)
		broken, ok := errors.AsType[*lost](err)
		if !ok {
			return err
		}
		if err := receiving.wait(ctx, broken.err); err != nil {
			return err
		}
	}
}

// consume works with one consumer until it fails (*lost) or processing ends.
func (r *receiver) consume(ctx context.Context, consumer broker.Consumer, receiving *outage) error {
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
	link := &link{consumer, r.log.With(keyTopic, r.partition.Topic, keyPartition, r.partition.Index)}
	pause := r.silence // of the subscription, before it is looked after
	var silence time.Duration
	for {
		wait := pause - silence
		if r.redrive != nil && consumer.Active() {
			wait = min(wait, max(r.redriveIn(), 0))
		}
		if r.waiting != nil {
			r.waiting(wait)
		}
		batch, err := box.take(ctx, wait)
		if silence += wait; len(batch) > 0 {
			silence = 0
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return &lost{err}
		case len(batch) > 0:
			receiving.over()
			err = r.process(ctx, batch, link)
		case r.silent == nil || !consumer.Active():
			pause, silence = r.silence, 0 // who takes over should look soon
		case silence < pause: // only parked events are due
		default:
			var should bool
			silence = 0
			if should, err = r.silent(ctx, link); should {
				pause = r.silence
			} else {
				pause = min(2*pause, silentLast)
			}
		}
		if err == nil && r.redrive != nil && consumer.Active() && r.redriveIn() <= 0 {
			err = r.redrive(ctx)
		}
		if err != nil {
			return err
		}
	}
}
