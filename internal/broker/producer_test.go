package broker

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/pulsar-client-go/pulsar"
	"pgregory.net/rapid"
)

func TestAcknowledgementsOutOfOrder(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(*scripted)
		want error
	}{
		"another message's":  {func(c *scripted) { c.sent[0], c.sent[1] = c.sent[1], c.sent[0]; c.acknowledge(1, 1, nil) }, ErrAckOrder},
		"a duplicate's":      {func(c *scripted) { c.acknowledge(-1, -1, nil) }, ErrAckOrder},
		"an earlier place's": {func(c *scripted) { c.acknowledge(0, 9, nil) }, ErrAckOrder},
		"the same place's":   {func(c *scripted) { c.acknowledge(1, 0, nil) }, ErrAckOrder},
		"an error":           {func(c *scripted) { c.acknowledge(0, 0, pulsar.ErrProducerFenced) }, ErrNotOwner},
		"too large":          {func(c *scripted) { c.acknowledge(0, 0, pulsar.ErrMessageTooLarge) }, ErrTooLarge},
		"quota":              {func(c *scripted) { c.acknowledge(0, 0, pulsar.ErrProducerBlockedQuotaExceeded) }, ErrQuota},
		"terminated":         {func(c *scripted) { c.acknowledge(0, 0, pulsar.ErrTopicTerminated) }, ErrTopicTerminated},
		"deleted":            {func(c *scripted) { c.acknowledge(0, 0, pulsar.ErrTopicNotfound) }, ErrTopicMissing},
		"schema":             {func(c *scripted) { c.acknowledge(0, 0, pulsar.ErrSchema) }, ErrSchemaMissing},
		"closed":             {func(c *scripted) { c.acknowledge(0, 0, pulsar.ErrProducerClosed) }, ErrLost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, s := scriptedProducer(t, 10)
				var o outcome
				q.Send(t.Context(), msg(1), o.done(0))
				s.acknowledge(1, 0, nil)
				synctest.Wait()
				for n := 1; n <= 3; n++ {
					q.Send(t.Context(), msg(1), o.done(n))
				}
				c.act(s)
				synctest.Wait()
				for s.count() > 0 {
					s.acknowledge(2, int64(5-s.count()), nil) // too late: these do not count
				}
				q.Send(t.Context(), msg(1), o.done(4))
				synctest.Wait()
				if !errors.Is(q.Err(), c.want) || !s.closed {
					t.Fatalf("Err %v, want %v; closed: %v", q.Err(), c.want, s.closed)
				}
				if len(o.errs) != 5 || o.errs[0] != nil || !errors.Is(o.errs[1], c.want) || errors.Is(o.errs[1], ErrStopped) {
					t.Fatalf("callbacks: %v", o.errs)
				}
				for n := 2; n <= 4; n++ {
					if !errors.Is(o.errs[n], ErrStopped) || !errors.Is(o.errs[n], c.want) {
						t.Fatalf("message %d: %v", n, o.errs[n])
					}
				}
				q.Close()
			})
		})
	}
}

func TestProbe(t *testing.T) {
	for _, fails := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			q, s := scriptedProducer(t, 10)
			defer q.Close()
			var place entryID
			q.verify = func(_ context.Context, at entryID) error {
				if place = at; fails {
					return ErrNotSettled.New("as the test wants")
				}
				return nil
			}
			var o outcome
			q.Send(t.Context(), msg(1), o.done(1))
			go q.Send(t.Context(), msg(1), o.done(2))
			synctest.Wait()
			if s.count() != 1 {
				t.Fatalf("%d messages sent beside the probe", s.count()-1)
			}
			s.acknowledge(7, 3, nil)
			synctest.Wait()
			if place != (entryID{7, 3}) {
				t.Fatalf("verified %v", place)
			}
			if fails {
				if !errors.Is(o.errs[1], ErrNotSettled) || !errors.Is(o.errs[2], ErrStopped) || s.count() != 0 {
					t.Fatalf("callbacks: %v", o.errs)
				}
				return
			}
			if s.count() != 1 || len(o.errs) != 1 || o.errs[1] != nil {
				t.Fatalf("%d sent, callbacks: %v", s.count(), o.errs)
			}
		})
	}
}

func TestSendWaitsForRoom(t *testing.T) {
	for name, size := range map[string]int{"messages": 1, "bytes": 400} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, s := scriptedProducer(t, 2)
				defer q.Close()
				var o outcome
				q.Send(t.Context(), msg(1), o.done(0))
				s.acknowledge(1, 0, nil)
				synctest.Wait()
				q.Send(t.Context(), msg(size), o.done(1))
				q.Send(t.Context(), msg(size), o.done(2))
				go q.Send(t.Context(), msg(size), o.done(3))
				synctest.Wait()
				if s.count() != 2 {
					t.Fatalf("%d in flight, the limit is 2", s.count())
				}
				s.acknowledge(1, 1, nil)
				synctest.Wait()
				if s.count() != 2 || len(o.errs) != 2 {
					t.Fatalf("%d in flight, callbacks %v", s.count(), o.errs)
				}
				// The end of the context ends the wait, and with it the producer.
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				q.Send(ctx, msg(size), o.done(4))
				synctest.Wait()
				if !errors.Is(o.errs[4], context.DeadlineExceeded) || !errors.Is(o.errs[4], ErrStopped) || len(o.errs) != 5 {
					t.Fatalf("callbacks: %v", o.errs)
				}
			})
		})
	}
}

func TestTravelsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := scriptedProducer(t, 10)
		defer q.Close()
		q.limits = newLimits(2000, 2)
		var o outcome
		q.Send(t.Context(), msg(1), o.done(0))
		s.acknowledge(1, 0, nil)
		synctest.Wait()
		bulky := msg(1)
		bulky.Properties = map[string]string{"a": string(make([]byte, 600))}
		q.Send(t.Context(), msg(1), o.done(1))
		go func() {
			q.Send(t.Context(), bulky, o.done(2))
			q.Send(t.Context(), msg(1), o.done(3))
		}()
		for entry := int64(1); entry <= 3; entry++ {
			synctest.Wait()
			if s.count() != 1 {
				t.Fatalf("%d in flight beside a message that travels alone", s.count())
			}
			s.acknowledge(1, entry, nil)
		}
		synctest.Wait()
		if len(o.errs) != 4 || o.errs[2] != nil {
			t.Fatalf("callbacks: %v", o.errs)
		}
		bulky.Properties["a"] = string(make([]byte, 1000))
		q.Send(t.Context(), bulky, o.done(4))
		synctest.Wait()
		if !errors.Is(o.errs[4], ErrTooLarge) {
			t.Fatalf("callbacks: %v", o.errs)
		}
	})
}

func TestClientPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := scriptedProducer(t, 10)
		defer q.Close()
		s.panics = true
		var o outcome
		q.Send(t.Context(), msg(1), o.done(0))
		synctest.Wait()
		if !errors.Is(o.errs[0], ErrLost) || !errors.Is(q.Err(), ErrLost) {
			t.Fatalf("callbacks: %v, Err: %v", o.errs, q.Err())
		}
	})
}

// Whatever happens in whatever order: each callback runs once, those of
// acknowledged messages first and in order, then errors only.
func TestCallbacksOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"send", "send", "send", "ack", "ack", "fail", "refuse", "close", "lost"}), 1, 60).Draw(rt, "steps")
		synctest.Test(t, func(t *testing.T) {
			q, s := scriptedProducer(t, 1000)
			var o outcome
			sent, acked, place := 0, 0, int64(0)
			var pending sync.WaitGroup
			for _, step := range steps {
				switch step {
				case "send":
					n := sent
					sent++
					if n <= 1 {
						pending.Go(func() { q.Send(t.Context(), msg(1), o.done(n)) })
					} else if acked > 0 || q.Err() != nil {
						q.Send(t.Context(), msg(1), o.done(n))
					} else {
						sent-- // would wait for the probe
					}
				case "ack":
					if s.count() > 0 {
						place++
						acked++
						s.acknowledge(1, place, nil)
					}
				case "fail":
					if s.count() > 0 {
						s.acknowledge(0, 0, pulsar.ErrProducerClosed)
						acked++
					}
				case "refuse":
					q.owner.refused("NotAllowedError", "Exceed maximum message size")
				case "close":
					go q.Close()
					acked++
				case "lost":
					q.fail(ErrLost.New("as the test wants"))
				}
				synctest.Wait()
			}
			q.Close()
			pending.Wait()
			synctest.Wait()
			if len(o.errs) != sent {
				rt.Fatalf("%d callbacks for %d messages", len(o.errs), sent)
			}
			failed := false
			for i, n := range o.list {
				if o.errs[n] != nil {
					failed = true
				} else if failed || n != i {
					rt.Fatalf("callback %d is for message %d, without an error (after one: %v)", i, n, failed)
				}
			}
		})
	})
}

// echo acknowledges at once, from another goroutine, in order.
type echo struct {
	pulsar.Producer
	sent chan *pulsar.ProducerMessage
	ack  func(pulsar.MessageID, *pulsar.ProducerMessage, error)
}

func (c *echo) SendAsync(_ context.Context, m *pulsar.ProducerMessage, ack func(pulsar.MessageID, *pulsar.ProducerMessage, error)) {
	c.ack = ack
	c.sent <- m
}

func (c *echo) FlushWithCtx(context.Context) error { return nil }
func (c *echo) Close()                             {}

func (c *echo) run() {
	for entry := int64(0); ; entry++ {
		m, ok := <-c.sent
		if !ok {
			return
		}
		c.ack(pulsar.NewMessageID(1, entry, 0, 0), m, nil)
	}
}

// BenchmarkSendOverhead is what this package adds to the client's own work for
// each message.
func BenchmarkSendOverhead(b *testing.B) {
	p := &Pulsar{cfg: Config{}.withDefaults(), producers: make(map[*producer]struct{})}
	q := newProducer(p, Partition{Topic: "persistent://a/b/c"}, "me", newLimits(5<<20, 2))
	q.verify = func(context.Context, entryID) error { return nil }
	c := &echo{sent: make(chan *pulsar.ProducerMessage, 1<<15)}
	if err := q.start(c); err != nil {
		b.Fatal(err)
	}
	go c.run()
	m := &Outgoing{Key: "key", Payload: make([]byte, 250), Schema: &Schema{Name: "E", JSON: "{}"}, EventTime: time.Now(),
		Properties: map[string]string{"position": "p", "id": "i", "type": "t"}}
	failed := 0
	done := func(_ MessageID, err error) {
		if err != nil {
			failed++
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		q.Send(b.Context(), m, done)
	}
	q.Close()
	close(c.sent)
}
