package broker_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/brokertest"
)

// A connection that closes while its calls are at any stage leaves neither
// goroutines nor connections, and does not wait for a timeout.
func TestCloseLeavesNothing(t *testing.T) {
	_, r := killScene(t)
	cfg := brokertest.Config(t)
	part := broker.Partition{Topic: r.Topic}
	before := goleak.IgnoreCurrent()
	const cycles = 30
	for i := range cycles {
		p, err := broker.Dial(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*2*time.Millisecond)
		var calls sync.WaitGroup
		calls.Go(func() {
			q, _, err := p.Acquire(ctx, broker.AcquireRequest{Partition: part, Producer: "runnel-kill-0", Schema: &r.Schema}, nil)
			if err == nil && i%2 == 0 {
				q.Close()
			}
		})
		calls.Go(func() {
			reader, err := p.Read(ctx, part, broker.Start{Latest: true})
			if err == nil && i%2 == 0 {
				reader.Close()
			}
		})
		calls.Go(func() {
			c, err := p.Subscribe(ctx, part, "sub")
			if err == nil && i%2 == 0 {
				c.Close()
			}
		})
		if i%3 == 0 {
			<-ctx.Done() // close while they run
		} else {
			calls.Wait()
		}
		started := time.Now()
		p.Close()
		if took := time.Since(started); took > 5*time.Second {
			t.Errorf("cycle %d: Close took %s", i, took)
		}
		cancel()
		calls.Wait()
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}
