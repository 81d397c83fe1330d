package pipeline

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/memory"
)

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
