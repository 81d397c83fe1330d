package pipeline

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// drainLimit is how long a run that ends waits for acknowledgements of what it
// has sent. What is not acknowledged by then is found by the next run.
const drainLimit = 10 * time.Second

// sendAtOnce is how many messages of a batch may wait to be handed out: what is handed out
// together leaves together. It is 7 ms of 150,000 events a second.
const sendAtOnce = 1024

// acquireAtOnce bounds the acquisitions under way.
const acquireAtOnce = 16

// source is what the loop needs of capture.Source.
type source interface {
	Confirm(lsn uint64)
}

// acquisition is the outcome of becoming a lane's producer.
type acquisition struct {
	lane     *lane
	producer broker.Producer
	tail     broker.Tail
}

// resize says that the topic accepts other sizes now.
type resize struct {
	topic    int
	maxBytes int
}

// loop owns the router's state of a run. Everything else posts to it.
type loop struct {
	log        *slog.Logger
	state      *router.State
	source     source
	client     broker.Client
	topics     []topic
	lanes      []*lane
	used       []atomic.Bool // topics that a lane was acquired of
	start      position.Position
	history    position.History // of the database
	name       string           // the producers' name
	stall      time.Duration
	foreign    broker.Foreign                             // messages that are passed over
	saved      map[broker.Partition]capture.PartitionTail // last messages known to have been durable
	pipeline   string
	trims      bool          // the topics' retention is limited
	walEnd     atomic.Uint64 // of the server, when it was last asked
	readWALEnd func(context.Context) (uint64, error)
	report     *reporter

	batches  <-chan *router.Batch
	batch    *router.Batch  // that was read last; nil: released
	rest     []router.Input // of it, that waits: see router.State.Waits
	acquired chan acquisition
	resized  chan resize
	mail     *mailbox
	held     *atomic.Pointer[capture.Held] // for the source to keep
	covered  <-chan struct{}               // closed once progress is saved, after the start was audited
	group    *errgroup.Group               // runs the acquisitions
	slots    chan struct{}                 // bounds them

	outgoing outgoing

	schemas map[*schemas.TopicSchema]*broker.Schema
	dirty   []*lane
	unacked int                                   // sent, not acknowledged, in all lanes
	handed  int64                                 // messages that were sent
	sending atomic.Int64                          // which one is being sent; 0: none
	onSlot  func(ctx, hard context.Context) error // run once, when the slot is known to be ours; may be nil
	check   func(ctx context.Context) error       // of an acquired lane, before anything is sent: see fence; may be nil
}

// run feeds the state until an error, or until ctx ends. Then it waits for what
// is in flight: what is published must be confirmed if it can be.
func (l *loop) run(ctx context.Context) error {
	hard, cancel := context.WithCancel(context.WithoutCancel(ctx))
	cutting := make(chan struct{})
	go func() {
		defer close(cutting)
		l.unblock(ctx, hard, cancel)
	}()
	defer func() {
		cancel()
		<-cutting
	}()
	defer l.close()
	err := l.feed(ctx, hard)
	l.report.draining()
	return l.drain(hard, err)
}

func (l *loop) feed(ctx, hard context.Context) error {
	tick, keep := time.NewTicker(time.Second), time.NewTicker(keepInterval)
	defer tick.Stop()
	defer keep.Stop()
	var poisoned time.Time
	for {
		in := l.batches
		if l.state.Full() || len(l.rest) > 0 {
			in = nil
		}
		if poison := l.state.Poison(); poison != nil {
			// What was committed before it is published first.
			if poisoned.IsZero() {
				poisoned = time.Now()
			}
			if l.state.Settled() || time.Since(poisoned) > drainLimit {
				return poison
			}
			in = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case b := <-in:
			if err := l.first(ctx, hard); err != nil {
				return err
			}
			l.batch = b
			if err := l.step(hard, b.Inputs); err != nil {
				return err
			}
		case <-l.mail.wake:
			if err := l.takeAcks(); err != nil {
				return err
			}
			failpoint.Hit("pipeline.acked") // and not confirmed
		case a := <-l.acquired:
			if err := l.take(hard, a); err != nil {
				return err
			}
		case r := <-l.resized:
			l.resize(r)
		case <-tick.C:
			if err := l.checkStall(); err != nil {
				return err
			}
			l.publish()
		case <-keep.C:
			if l.keep() || l.unacked > 0 {
				l.publish()
			}
		}
		if rest := l.rest; len(rest) > 0 {
			l.rest = nil
			if err := l.step(hard, rest); err != nil {
				return err
			}
		}
		l.act(ctx, hard)
		l.releaseBatch()
		l.source.Confirm(l.state.Confirmed())
	}
}

// releaseBatch gives back the memory of a batch that nothing refers to any more: events that
// wait own theirs, and what is sent is encoded.
func (l *loop) releaseBatch() {
	if l.batch == nil || len(l.rest) > 0 {
		return
	}
	if l.batch.Release != nil {
		l.batch.Release()
	}
	l.batch = nil
}

// first does, once, what needs the slot to be ours: the first batch proves it. An error
// that is posted meanwhile ends it: it may wait for a broker that does not answer.
func (l *loop) first(ctx, hard context.Context) error {
	if l.onSlot == nil {
		return nil
	}
	check := l.onSlot
	l.onSlot = nil
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-l.mail.failed:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := check(ctx, hard)
	cancel()
	<-ended
	return cmp.Or(l.mail.failure(), err)
}

// step feeds what was read, as far as it need not wait. Messages are handed out in
// between, so that a large batch begins to travel at once.
func (l *loop) step(hard context.Context, inputs []router.Input) error {
	for i := range inputs {
		if l.state.Waits(&inputs[i]) {
			l.rest = inputs[i:]
			return nil
		}
		if err := l.state.Step(&inputs[i]); err != nil {
			if l.state.Poison() != nil {
				return nil // feed goes on without reading
			}
			return err
		}
		if len(l.state.Ready().Send) >= sendAtOnce {
			l.send(hard)
		}
	}
	return nil
}

// checkStall ends a run in which the broker does not answer.
func (l *loop) checkStall() error {
	for _, ln := range l.lanes {
		// Acknowledgements that were not taken yet have come.
		if ln.unacked > 0 && time.Since(ln.since) > l.stall && ln.acks.Load() == 0 {
			return ErrStalled.New("%d messages were sent and none was acknowledged for %s", ln.unacked, l.stall).At("%s", ln.partition)
		}
	}
	return nil
}

// unblock cuts off a send that blocks for too long, so that a broker that does
// not answer can hold up neither checkStall nor the end of the run.
func (l *loop) unblock(ctx, hard context.Context, cut func()) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last, since := int64(0), time.Now()
	for {
		select {
		case <-hard.Done():
			return
		case <-tick.C:
		}
		if sending := l.sending.Load(); sending == 0 || sending != last {
			last, since = sending, time.Now()
		}
		limit := l.stall
		if ctx.Err() != nil {
			limit = min(limit, drainLimit)
		}
		if last != 0 && time.Since(since) > limit {
			l.mail.fail(ErrStalled.New("a message could not be handed over for %s: the broker does not acknowledge those before it", limit))
			cut()
			return
		}
	}
}

// drain waits for what is in flight, so that what is published is confirmed
// too if it can be: the next run then has less to compare. cause is why the run
// ends, nil at a shutdown; it is returned.
func (l *loop) drain(hard context.Context, cause error) error {
	limit := time.NewTimer(drainLimit)
	defer limit.Stop()
	for l.unacked > 0 {
		select {
		case <-l.mail.wake:
			if err := l.takeAcks(); err != nil {
				return cmp.Or(cause, err)
			}
			l.source.Confirm(l.state.Confirmed())
		case <-limit.C:
			return cmp.Or(cause, error(ErrStalled.New("%d messages were not acknowledged within %s of the end of the run", l.unacked, drainLimit)))
		case <-hard.Done(): // a send was cut off
			return cmp.Or(cause, l.takeAcks())
		}
	}
	l.source.Confirm(l.state.Confirmed())
	return cause
}

// close gives the producers up.
func (l *loop) close() {
	var wg sync.WaitGroup
	for _, ln := range l.lanes {
		if ln.producer != nil {
			wg.Go(ln.producer.Close)
		}
	}
	wg.Wait()
	l.keep()
	l.publish()
}

// publish tells status and metrics how far the loop is.
func (l *loop) publish() { l.report.publish(l) }

// keepInterval is how often the source may learn what the partitions hold.
const keepInterval = 100 * time.Millisecond

// keep lets the source save what the partitions hold, and reports whether that has changed.
//
// Nothing is saved of one that goes on behind what it has lost before progress is saved, which
// covers what it has lost: until then that is how an audit knows it (strikeLost). So nothing
// else is confirmed then.
func (l *loop) keep() bool {
	confirmed := l.state.Confirmed()
	if before := l.held.Load(); before != nil && before.Confirmed == confirmed {
		return false
	}
	covered := false
	select {
	case <-l.covered:
		covered = true
	default:
	}
	held := capture.Held{Confirmed: confirmed, Tails: make([]capture.PartitionTail, 0, len(l.lanes))}
	for _, ln := range l.lanes {
		if s := l.state.Published(ln.id); s.Ordinal > 0 {
			if saved := l.saved[ln.partition]; (saved.GoesOn() || ln.emptied) && saved.Last.Less(s.Position) && !covered {
				return false
			}
			held.Tails = append(held.Tails, capture.PartitionTail{Topic: ln.partition.Topic, Partition: ln.partition.Index, Last: s})
		}
	}
	l.held.Store(&held)
	return true
}
