package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/memory"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// testStall is Stall of these runs. Time is synctest's: it passes when all wait.
const testStall = time.Minute

// course is a topic of one partition in a broker in memory, and the events that
// a slot would give: the n-th is committed at LSN 10n, and ends at 10n+5.
type course struct {
	t         *testing.T
	broker    *memory.Broker
	partition broker.Partition
	registered,
	composed *schemas.TopicSchema
	confirmed atomic.Uint64 // what the slot has been told
}

// Confirm makes it the loop's source.
func (c *course) Confirm(lsn uint64) { c.confirmed.Store(lsn) }

func newCourse(t *testing.T) *course {
	t.Helper()
	c := &course{t: t, broker: memory.New(), partition: broker.Partition{Topic: "persistent://public/runnel/order"}}
	e, err := schemas.ParseEventType(`{"type":"record","name":"Placed","aggregate":"order","fields":[{"name":"id","type":"string"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if c.composed, err = schemas.Compose("order", []*schemas.EventType{e}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := c.broker.EnsureNamespace(t.Context(), "public/runnel", broker.NamespacePolicy{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.broker.EnsureTopic(t.Context(), c.partition.Topic, 1, nil); err != nil {
		t.Fatal(err)
	}
	s, err := c.broker.RegisterSchema(c.partition.Topic, c.composed.Name, c.composed.JSON)
	if err != nil {
		t.Fatal(err)
	}
	if c.registered, err = schemas.ParseTopicSchema(s.JSON, s.Version); err != nil {
		t.Fatal(err)
	}
	return c
}

// attempt is a run's loop.
type attempt struct {
	c     *course
	loop  *loop
	feed  chan *router.Batch
	stop  context.CancelFunc // a shutdown
	ended chan struct{}
	err   error
}

// start begins a run where the slot is.
func (c *course) start() *attempt {
	c.t.Helper()
	codec, err := schemas.NewTopicCodec([]*schemas.TopicSchema{c.registered})
	if err != nil {
		c.t.Fatal(err)
	}
	routes, err := router.NewRoutes(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	start := position.Position{Epoch: 1, LSN: c.confirmed.Load()}
	a := &attempt{c: c, feed: make(chan *router.Batch), ended: make(chan struct{})}
	a.loop = &loop{
		state:  router.New(router.Config{Routes: routes, Start: start, Topics: []router.Topic{{Name: "order", Partitions: 1, Codec: codec}}}),
		source: c, client: c.broker.Connect("daemon"), start: start, name: "runnel-test", stall: testStall,
		topics: []topic{{local: "order", full: c.partition.Topic, partitions: 1, codec: codec, newest: brokerSchema(c.registered)}},
		report: newReporter(Config{Name: "test"}), batches: a.feed, acquired: make(chan acquisition, 1), resized: make(chan resize),
		mail: newMailbox(), tails: new(atomic.Pointer[[]capture.PartitionTail]), slots: make(chan struct{}, acquireAtOnce),
		schemas:    make(map[*schemas.TopicSchema]*broker.Schema),
		readWALEnd: func(context.Context) (uint64, error) { return 1 << 40, nil },
	}
	a.loop.lanes = []*lane{newLane(a.loop.mail, 0, 0, c.partition)}
	ctx, stop := context.WithCancel(c.t.Context())
	a.stop = stop
	helpers := new(errgroup.Group)
	a.loop.group = helpers
	go func() {
		defer close(a.ended)
		a.err = a.loop.run(ctx)
		_ = helpers.Wait()
		a.loop.client.Close()
	}()
	return a
}

// commit gives the loop events from the n-th to the last.
func (a *attempt) commit(n, last int) {
	for ; n <= last; n++ {
		at := position.Position{Epoch: 1, LSN: uint64(10 * n)}
		row := router.Event{
			Position: at, ID: [16]byte{14: byte(n >> 8), 15: byte(n)}, AggregateType: []byte("order"), AggregateID: []byte("k"),
			Type: []byte("Placed"), Encoding: router.JSON, Payload: fmt.Appendf(nil, `{"id":"%d"}`, n), OccurredAt: int64(n),
		}
		b := &router.Batch{Inputs: []router.Input{
			{Kind: router.Begin, Transaction: router.Transaction{Position: at, Committed: time.Now().UnixMicro()}},
			{Kind: router.Row, Event: row}, {Kind: router.Commit, LSN: uint64(10*n + 5)},
		}}
		select {
		case a.feed <- b:
		case <-a.ended:
			return
		}
	}
}

// replay gives the loop what a slot gives from the confirmed LSN on.
func (a *attempt) replay(last int) { a.commit(int(a.c.confirmed.Load()/10)+1, last) }

// wait returns how the run ended, and how long that took.
func (a *attempt) wait() (time.Duration, error) {
	began := time.Now()
	<-a.ended
	return time.Since(began), a.err
}

// holds requires that the topic holds the first n events, each once, in order,
// and that the slot has been told so.
func (c *course) holds(n int) {
	c.t.Helper()
	synctest.Wait()
	all, err := c.broker.Messages(c.partition)
	if err != nil {
		c.t.Fatal(err)
	}
	if len(all) != n {
		c.t.Errorf("the topic holds %d events, want %d", len(all), n)
	}
	for i, m := range all {
		if s, err := m.Stamp(); err != nil || s.LSN != uint64(10*(i+1)) || s.Ordinal != uint64(i+1) {
			c.t.Fatalf("event %d is at %s (%v)", i+1, s, err)
		}
	}
	if got := c.confirmed.Load(); got != uint64(10*n+5) {
		c.t.Errorf("confirmed up to %d, want all %d events", got, n)
	}
}

func (c *course) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// stalled requires that a run ended with BROKER_STALLED, which the next one may
// put right, within a time.
func (a *attempt) stalled(says string, within time.Duration) {
	t := a.c.t
	t.Helper()
	took, err := a.wait()
	if !errors.Is(err, ErrStalled) || halts(err) || !strings.Contains(err.Error(), says) {
		t.Fatalf("%v; want BROKER_STALLED with %q", err, says)
	}
	if took > within {
		t.Errorf("it took %s", took)
	}
}

// TestBrokerAcceptsAndNeverAnswers: the run ends, naming the partition; whatever
// becomes of what was under way, the next one publishes each event once.
func TestBrokerAcceptsAndNeverAnswers(t *testing.T) {
	for name, after := range map[string]func(c *course){
		"it was stored after all": func(c *course) { c.must(c.broker.Release(c.partition)) },
		"it was lost": func(c *course) {
			c.broker.OnAdd(func(memory.Add) memory.Fate { return memory.Fail })
			c.must(c.broker.Release(c.partition))
			c.broker.OnAdd(nil)
		},
		"it is stored while the next run begins": func(c *course) {
			time.AfterFunc(20*time.Second, func() { c.must(c.broker.Release(c.partition)) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCourse(t)
				a := c.start()
				a.commit(1, 5)
				c.holds(5)
				c.must(c.broker.Hold(c.partition))
				a.commit(6, 9)
				a.stalled("order-partition-0: BROKER_STALLED 4 messages were sent and none was acknowledged for 1m0s", testStall+drainLimit+2*time.Second)
				after(c)
				a = c.start()
				a.replay(12)
				<-time.After(30 * time.Second)
				c.holds(12)
				a.stop()
				if _, err := a.wait(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestSlowBrokerIsNoStall: what counts is the time since the last acknowledgement.
func TestSlowBrokerIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourse(t)
		a := c.start()
		for n := 1; n <= 10; n++ {
			c.must(c.broker.Hold(c.partition))
			a.commit(n, n)
			<-time.After(testStall * 2 / 3)
			c.must(c.broker.Release(c.partition))
			c.holds(n)
		}
		a.stop()
		if _, err := a.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestSendBlocks: a client whose queue is full blocks whoever hands over; that is
// cut off, and nothing of it is lost.
func TestSendBlocks(t *testing.T) {
	const many = 6000 // more than the broker in memory lets wait
	synctest.Test(t, func(t *testing.T) {
		c := newCourse(t)
		a := c.start()
		a.commit(1, 5)
		c.holds(5)
		c.must(c.broker.Hold(c.partition))
		go a.commit(6, many)
		a.stalled("BROKER_STALLED", testStall+2*time.Second)
		c.must(c.broker.Release(c.partition))
		a = c.start()
		a.replay(many)
		c.holds(many)
		// A shutdown does not wait for Stall.
		c.must(c.broker.Hold(c.partition))
		go a.commit(many+1, 2*many)
		synctest.Wait()
		a.stop()
		a.stalled("BROKER_STALLED", drainLimit+2*time.Second)
		c.must(c.broker.Release(c.partition))
		a = c.start()
		a.replay(2 * many)
		c.holds(2 * many)
		a.stop()
		if _, err := a.wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestShutdownIsBounded: it waits for what is in flight, and not for ever.
func TestShutdownIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourse(t)
		a := c.start()
		a.commit(1, 5)
		c.holds(5)
		c.must(c.broker.Hold(c.partition))
		a.commit(6, 9)
		a.stop()
		a.stalled("4 messages were not acknowledged within 10s of the end of the run", drainLimit)

		// The next one ends while they are on their way, and confirms them.
		c.must(c.broker.Release(c.partition))
		a = c.start()
		a.replay(9)
		c.holds(9)
		c.must(c.broker.Hold(c.partition))
		a.commit(10, 10)
		a.stop()
		time.AfterFunc(drainLimit/2, func() { c.must(c.broker.Release(c.partition)) })
		if _, err := a.wait(); err != nil {
			t.Error(err)
		}
		c.holds(10)
	})
}

// TestPartitionLost: a run whose right to publish is gone ends at once, also when
// nothing is in flight, and names the partition.
func TestPartitionLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCourse(t)
		a := c.start()
		a.commit(1, 5)
		c.holds(5)
		c.must(c.broker.Fence(c.partition))
		took, err := a.wait()
		if !errors.Is(err, ErrLaneLost) || !errors.Is(err, broker.ErrNotOwner) || halts(err) || !strings.Contains(err.Error(), c.partition.String()) {
			t.Errorf("%v, want PARTITION_LOST at %s", err, c.partition)
		}
		if took > 0 {
			t.Errorf("it took %s", took)
		}
		a = c.start()
		a.replay(8)
		c.holds(8)
		a.stop()
		if _, err := a.wait(); err != nil {
			t.Error(err)
		}
	})
}
