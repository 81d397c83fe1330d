package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
	"github.com/runnel-cdc/runnel/internal/properties"
)

func TestAcknowledgementsOutOfOrder(t *testing.T) {
	for name, c := range map[string]struct {
		act  func(*scripted)
		want error
	}{
		"another message's":  {func(c *scripted) { c.firsts[0]++; c.acknowledge(1, 1) }, ErrAckOrder},
		"a duplicate's":      {func(c *scripted) { c.acknowledge(-1, -1) }, ErrAckOrder},
		"an earlier place's": {func(c *scripted) { c.acknowledge(0, 9) }, ErrAckOrder},
		"the same place's":   {func(c *scripted) { c.acknowledge(1, 0) }, ErrAckOrder},
		"fenced":             {func(c *scripted) { c.refuse(wire.ProducerFenced, "") }, ErrNotOwner},
		"too large":          {func(c *scripted) { c.refuse(wire.NotAllowed, "Exceed maximum message size") }, ErrTooLarge},
		"quota":              {func(c *scripted) { c.refuse(wire.QuotaExceeded, "") }, ErrQuota},
		"quota, held":        {func(c *scripted) { c.refuse(wire.QuotaExceededError, "") }, ErrQuota},
		"terminated":         {func(c *scripted) { c.refuse(wire.TopicTerminated, "") }, ErrTopicTerminated},
		"deleted":            {func(c *scripted) { c.refuse(wire.TopicNotFound, "ProducerFenced") }, ErrTopicMissing},
		"schema":             {func(c *scripted) { c.refuse(wire.IncompatibleSchema, "") }, ErrSchemaMissing},
		"not stored":         {func(c *scripted) { c.refuse(wire.PersistenceError, "") }, ErrNotReady},
		"closed":             {func(c *scripted) { c.events.Ended(wire.ErrProducerClosed) }, ErrLost},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, s := scriptedProducer(t, 10)
				var o outcome
				q.Send(t.Context(), msg(1), o.done(0))
				s.acknowledge(1, 0)
				synctest.Wait()
				for n := 1; n <= 3; n++ {
					q.Send(t.Context(), msg(1), o.done(n))
					synctest.Wait()
				}
				c.act(s)
				synctest.Wait()
				for s.count() > 0 {
					s.acknowledge(2, int64(5-s.count())) // too late: these do not count
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
			if s.messages() != 1 || s.held() != 0 {
				t.Fatalf("%d messages sent beside the probe", s.messages()-1)
			}
			s.acknowledge(7, 3)
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
			if s.messages() != 1 || len(o.errs) != 1 || o.errs[1] != nil {
				t.Fatalf("%d sent, callbacks: %v", s.messages(), o.errs)
			}
		})
	}
}

// A receipt that comes twice is not taken for that of what is sent next.
func TestProbeTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := scriptedProducer(t, 10)
		defer q.Close()
		verifying := make(chan struct{})
		q.verify = func(context.Context, entryID) error { <-verifying; return nil }
		var o outcome
		q.Send(t.Context(), msg(1), o.done(1))
		s.acknowledge(7, 3)
		synctest.Wait()
		q.Stored(wire.Receipt{Sequence: 0, Ledger: 7, Entry: 4})
		close(verifying)
		synctest.Wait()
		if !errors.Is(q.Err(), ErrAckOrder) || len(o.errs) != 1 || !errors.Is(o.errs[1], ErrAckOrder) {
			t.Fatalf("%v, callbacks %v", q.Err(), o.errs)
		}
	})
}

// probed returns a producer whose probe, message 0, is acknowledged at 1:0.
func probed(t *testing.T, maxPending int, o *outcome) (*producer, *scripted) {
	q, s := scriptedProducer(t, maxPending)
	q.Send(t.Context(), msg(1), o.done(0))
	s.acknowledge(1, 0)
	synctest.Wait()
	return q, s
}

func TestSendWaitsForRoom(t *testing.T) {
	for name, size := range map[string]int{"messages": 1, "bytes": 400} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o outcome
				q, s := probed(t, 2, &o)
				defer q.Close()
				q.Send(t.Context(), msg(size), o.done(1))
				q.Send(t.Context(), msg(size), o.done(2))
				go q.Send(t.Context(), msg(size), o.done(3))
				synctest.Wait()
				if n := s.messages() + s.held(); n != 2 {
					t.Fatalf("%d in flight, the limit is 2", n)
				}
				s.acknowledge(1, 1)
				synctest.Wait()
				if n := s.messages() + s.held(); n != 2 || len(o.errs) != 2 {
					t.Fatalf("%d in flight, callbacks %v", n, o.errs)
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

// A message that is too large for a batch has one of its own; one that the
// broker would refuse stops the producer.
func TestTravelsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outcome
		q, s := probed(t, 10, &o)
		defer q.Close()
		q.limits = newLimits(2000, 2)
		q.limits.batch = 500
		bulky := msg(1)
		bulky.Properties = properties.List{{Name: "a", Value: string(make([]byte, 600))}}
		go func() {
			for n := 1; n <= 5; n++ {
				m := msg(1)
				if n == 4 {
					m = bulky
				}
				q.Send(t.Context(), m, o.done(n))
			}
		}()
		s.acknowledgeAll(1)
		if want := []int{1, 1, 2, 1, 1}; !slices.Equal(s.all, want) {
			t.Fatalf("batches of %v messages, want %v", s.all, want)
		}
		bulky.Properties[0].Value = string(make([]byte, 2000))
		q.Send(t.Context(), bulky, o.done(6))
		synctest.Wait()
		if !errors.Is(o.errs[6], ErrTooLarge) {
			t.Fatalf("callbacks: %v", o.errs)
		}
	})
}

// A batch has messages of one schema, whose version is asked for once.
func TestSchemas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o outcome
		q, s := probed(t, 100, &o)
		defer q.Close()
		q.Send(t.Context(), msg(1), o.done(1))
		one, two := &Schema{Name: "aaaaaaaa"}, &Schema{Name: "bbbbbbbb"}
		for n, schema := range []*Schema{one, one, two, {Name: "bbbbbbbb"}, one} {
			m := msg(1)
			m.Schema = schema
			q.Send(t.Context(), m, o.done(n+2))
		}
		s.acknowledgeAll(1)
		if want := []int{1, 1, 2, 2, 1}; s.asked != 2 || !slices.Equal(s.all, want) {
			t.Fatalf("asked %d times; batches of %v, want %v", s.asked, s.all, want)
		}
		s.askErr = &wire.ServerError{Code: wire.IncompatibleSchema}
		m := msg(1)
		m.Schema = &Schema{Name: "cccccccc"}
		q.Send(t.Context(), m, o.done(7))
		synctest.Wait()
		if !errors.Is(q.Err(), ErrSchemaMissing) || !errors.Is(o.errs[7], ErrSchemaMissing) {
			t.Fatalf("Err %v, callback %v", q.Err(), o.errs[7])
		}
	})
}

// A link that has ended before it was taken over.
func TestEndsBeforeItStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &Pulsar{cfg: Config{}.withDefaults(), producers: make(map[*producer]struct{})}
		q := newProducer(p, Partition{Topic: "persistent://a/b/c"}, "me", newLimits(1<<20, 2))
		q.Ended(wire.ErrProducerClosed)
		s := &scripted{events: q}
		if err := q.start(s, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !errors.Is(q.Err(), ErrLost) || !s.closed || len(p.producers) != 0 {
			t.Fatalf("%v, closed: %t", q.Err(), s.closed)
		}
		q.Close()
		p.closed = true
		q, s = newProducer(p, Partition{}, "me", limits{}), &scripted{}
		if err := q.start(s, nil); !errors.Is(err, ErrLost) || !s.closed {
			t.Fatalf("%v, closed: %t", err, s.closed)
		}
	})
}

// Whatever happens in whatever order: each callback runs once, those of
// acknowledged messages first and in order, then errors only.
func TestCallbacksOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.SampledFrom([]string{"send", "send", "send", "send", "ack", "ack", "fail", "refuse", "close", "lost"}), 1, 60).Draw(rt, "steps")
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
						s.acknowledge(1, place)
					}
				case "fail":
					if s.count() > 0 {
						s.events.Ended(wire.ErrProducerClosed)
						acked++
					}
				case "refuse":
					s.refuse(wire.NotAllowed, "Exceed maximum message size")
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
