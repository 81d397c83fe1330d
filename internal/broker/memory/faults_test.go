package memory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/memory"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
)

const topicName = "persistent://public/shop/order"

var part = broker.Partition{Topic: topicName}

func stamp(n int) position.Stamp {
	return position.Stamp{Position: position.Position{Epoch: 1, LSN: uint64(n)}, Ordinal: uint64(n)}
}

func event(n int) *broker.Outgoing {
	return &broker.Outgoing{Key: "k", Payload: []byte(fmt.Sprint(n)), Properties: properties.List{{Name: position.Property, Value: stamp(n).String()}}}
}

// shop is a broker with one topic of one partition.
func shop(t testing.TB) *memory.Broker {
	b := memory.New()
	if _, err := b.EnsureNamespace(context.Background(), "public/shop", broker.NamespacePolicy{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.EnsureTopic(context.Background(), topicName, 1, nil); err != nil {
		t.Fatal(err)
	}
	return b
}

func acquire(c broker.Client, replayed int) (broker.Producer, broker.Tail, error) {
	return c.Acquire(context.Background(), broker.AcquireRequest{Partition: part, Producer: "runnel-shop-0", Replayed: stamp(replayed).Position}, nil)
}

// results collects callbacks; read it after synctest.Wait.
type results struct{ errs []error }

func (r *results) done(_ broker.MessageID, err error) { r.errs = append(r.errs, err) }

func (r *results) stored() int {
	for i, err := range r.errs {
		if err != nil {
			return i
		}
	}
	return len(r.errs)
}

// Every fate, at the second of three entries: what is stored, what is
// acknowledged, and what the next run finds.
func TestFates(t *testing.T) {
	for _, c := range []struct {
		fate          memory.Fate
		acked, stored int
		lost, next    error
	}{
		{memory.Store, 3, 3, nil, nil},
		{memory.LoseAck, 1, 3, broker.ErrLost, nil},
		{memory.Fail, 1, 1, broker.ErrLost, nil},
		{memory.Vanish, 1, 2, broker.ErrTooLarge, broker.ErrHole},
	} {
		t.Run(fmt.Sprint(c.fate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := shop(t)
				defer b.Close()
				entry := 0
				b.OnAdd(func(memory.Add) memory.Fate {
					if entry++; entry == 2 {
						return c.fate
					}
					return memory.Store
				})
				p, _, err := acquire(b, 1)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				var r results
				p.Send(t.Context(), event(1), r.done)
				synctest.Wait()
				if err := b.Hold(part); err != nil {
					t.Fatal(err)
				}
				for n := 2; n <= 3; n++ {
					p.Send(t.Context(), event(n), r.done)
					synctest.Wait() // an entry each
				}
				if len(r.errs) != 1 {
					t.Fatalf("held adds were acknowledged: %v", r.errs)
				}
				if err := b.Release(part); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				all, err := b.Messages(part)
				if err != nil || r.stored() != c.acked || len(r.errs) != 3 || len(all) != c.stored || !errors.Is(p.Err(), c.lost) {
					t.Fatalf("%v: callbacks %v, %d stored, Err %v", err, r.errs, len(all), p.Err())
				}
				b.OnAdd(nil)
				if c.lost == nil {
					p.Close()
				}
				next, tail, err := acquire(b, 1)
				if !errors.Is(err, c.next) {
					t.Fatalf("the next run: %v, want %v", err, c.next)
				}
				if err == nil {
					if int(tail.Stamp.Ordinal) != c.stored {
						t.Fatalf("tail %+v", tail)
					}
					next.Close()
				}
			})
		})
	}
}

// An add that outlives its owner settles before the successor reads the tail;
// one that settling could not see fails the probe.
func TestLateAdds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := shop(t)
		defer b.Close()
		p, _, err := acquire(b, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Hold(part); err != nil {
			t.Fatal(err)
		}
		var r results
		p.Send(t.Context(), event(1), r.done)
		synctest.Wait()
		p.Close()
		if len(r.errs) != 1 || !errors.Is(r.errs[0], broker.ErrStopped) {
			t.Fatalf("callbacks: %v", r.errs)
		}
		got := make(chan broker.Tail)
		var next broker.Producer
		go func() {
			var tail broker.Tail
			next, tail, err = acquire(b, 1)
			got <- tail
		}()
		synctest.Wait()
		select {
		case tail := <-got:
			t.Fatalf("acquired with an add pending: %+v, %v", tail, err)
		default:
		}
		if err := b.Release(part); err != nil {
			t.Fatal(err)
		}
		if tail := <-got; err != nil || tail.Stamp != stamp(1) {
			t.Fatalf("%+v, %v", tail, err)
		}
		if err := b.LateAdd(part, "runnel-shop-0", event(2)); err != nil {
			t.Fatal(err)
		}
		var s results
		next.Send(t.Context(), event(2), s.done)
		synctest.Wait()
		if len(s.errs) != 1 || !errors.Is(s.errs[0], broker.ErrNotSettled) {
			t.Fatalf("callbacks: %v", s.errs)
		}
	})
}

// A paused client that the broker dropped adds nothing when it resumes.
func TestDroppedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := shop(t)
		defer b.Close()
		old := b.Connect("old")
		defer old.Close()
		p, _, err := acquire(old, 1)
		if err != nil {
			t.Fatal(err)
		}
		var r results
		p.Send(t.Context(), event(1), r.done)
		synctest.Wait()
		old.Drop()
		p.Send(t.Context(), event(2), r.done)
		q, tail, err := acquire(b, 1)
		if err != nil || tail.Stamp != stamp(1) {
			t.Fatalf("%+v, %v", tail, err)
		}
		var s results
		q.Send(t.Context(), event(2), s.done)
		synctest.Wait()
		old.Resume()
		p.Send(t.Context(), event(3), r.done)
		synctest.Wait()
		all, err := b.Messages(part)
		if err != nil || len(all) != 2 || s.stored() != 1 || r.stored() != 1 || len(r.errs) != 3 || !errors.Is(p.Err(), broker.ErrLost) {
			t.Fatalf("%d messages, callbacks %v and %v, Err %v", len(all), r.errs, s.errs, p.Err())
		}
		if owner := b.Owner(part); !strings.Contains(owner, "memory") {
			t.Fatalf("the owner is %q", owner)
		}
		if err := b.Fence(part); err != nil {
			t.Fatal(err)
		}
		<-q.Lost()
		if !errors.Is(q.Err(), broker.ErrNotOwner) || b.Owner(part) != "" {
			t.Fatalf("after fencing: %v, owner %q", q.Err(), b.Owner(part))
		}
	})
}

func TestTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := shop(t)
		defer b.Close()
		for n := 1; n <= 5; n++ {
			if err := b.LateAdd(part, "runnel-shop-0", event(n)); err != nil {
				t.Fatal(err)
			}
		}
		for _, keep := range []int{2, 0} {
			if err := b.Trim(part, keep); err != nil {
				t.Fatal(err)
			}
			p, tail, err := acquire(b, 1)
			if err != nil || tail.ReadBack.Count != uint64(keep) || (tail.Stamp == position.Stamp{}) != (keep == 0) {
				t.Fatalf("%+v, %v", tail, err)
			}
			p.Close()
			all, err := b.Messages(part)
			if err != nil || len(all) != keep {
				t.Fatalf("%d messages, %v", len(all), err)
			}
		}
	})
}

func ExampleBroker() {
	ctx := context.Background()
	b := memory.New()
	defer b.Close()
	_, _ = b.EnsureNamespace(ctx, "public/shop", broker.NamespacePolicy{})
	_, _ = b.EnsureTopic(ctx, topicName, 1, nil)

	p, tail, err := acquire(b, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the tail's ordinal:", tail.Stamp.Ordinal)
	acked := make(chan struct{})
	p.Send(ctx, event(1), func(id broker.MessageID, err error) {
		fmt.Println("acknowledged at", id, err)
		close(acked)
	})
	<-acked
	p.Close()

	_, tail, _ = acquire(b, 1)
	fmt.Println("the tail's ordinal:", tail.Stamp.Ordinal)
	// Output:
	// the tail's ordinal: 0
	// acknowledged at 1:0:0 <nil>
	// the tail's ordinal: 1
}
