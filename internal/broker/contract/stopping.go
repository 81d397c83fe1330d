package contract

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

func oversize(s *scene) {
	limit, err := s.client.MaxMessageSize(s.ctx, s.topic)
	if err != nil {
		s.Fatal(err)
	}
	p, at := s.acquire(position.Position{})
	if at.MaxMessageSize != limit {
		s.Fatalf("MaxMessageSize %d and %d", at.MaxMessageSize, limit)
	}
	a := newAcks()
	s.send(p, a, 1, 10, true)
	big := s.message(11)
	big.Payload = make([]byte, limit)
	if err := broker.CheckSize(big, "runnel-test-1", limit); !errors.Is(err, broker.ErrTooLarge) {
		s.Fatalf("CheckSize: %v", err)
	}
	p.Send(s.ctx, big, a.done(11))
	s.send(p, a, 12, 20, false)
	a.wait(s, 20)
	acked := s.endsWith(p, a, 20, broker.ErrTooLarge)
	// The largest that is accepted arrives. Before it: a prefix of what was
	// sent, at least what was acknowledged.
	q, at := s.acquire(position.Position{})
	stored := int(at.Stamp.Ordinal)
	if stored < acked || stored > 10 {
		s.Fatalf("%d acknowledged, tail %v", acked, at.Stamp)
	}
	fits := s.message(stored + 1)
	fits.Payload = make([]byte, limit-1000)
	if err := broker.CheckSize(fits, "runnel-test-1", limit); err != nil {
		s.Fatal(err)
	}
	b := newAcks()
	q.Send(s.ctx, fits, b.done(1))
	b.inOrder(s, 1, 1)
	s.holds(s.content(), 1, stored+1)
}

// endsWith expects the callbacks of messages 1..n to succeed up to one, then
// one error with one of the codes, then ErrStopped; and the producer to be lost. It
// returns how many succeeded.
func (s *scene) endsWith(p broker.Producer, a *acks, n int, wants ...error) int {
	s.Helper()
	a.wait(s, n)
	select {
	case <-p.Lost():
	case <-s.ctx.Done():
		s.Fatal("Lost was not closed")
	}
	i := slices.IndexFunc(wants, func(want error) bool { return errors.Is(p.Err(), want) })
	if i < 0 {
		s.Fatalf("Err: %v, want one of %v", p.Err(), wants)
	}
	want := wants[i]
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.order) != n || len(a.twice) > 0 {
		s.Fatalf("%d callbacks for %d messages, twice: %v", len(a.order), n, a.twice)
	}
	stored, failed := 0, false
	for i, err := range a.errs {
		switch {
		case err == nil && failed:
			s.Fatalf("message %d succeeded after an error", a.order[i])
		case err == nil:
			if stored++; a.order[i] != stored {
				s.Fatalf("callback %d is for message %d", i, a.order[i])
			}
		case !errors.Is(err, want):
			s.Fatalf("callback %d (message %d): %v, want %v in its chain", i, a.order[i], err, want)
		default:
			failed = true
		}
	}
	return stored
}

func smallTopic(s *scene) {
	const limit = 2000
	s.SetMaxMessageSize(s.T, s.topic, limit)
	p, at := s.acquire(position.Position{})
	if at.MaxMessageSize != limit {
		s.Fatalf("MaxMessageSize %d, want the topic's %d", at.MaxMessageSize, limit)
	}
	a := newAcks()
	send := func(n, payload, key int) {
		m := s.message(n)
		m.Payload, m.Key = make([]byte, payload), strings.Repeat("k", key)
		p.Send(s.ctx, m, a.done(n))
	}
	send(1, 10, 10)
	a.wait(s, 1)
	// Many that fit alone, in all proportions of payload and metadata: no
	// batch of them may be refused.
	n := 1
	for _, payload := range []int{1, 30, 200, 900} {
		for _, key := range []int{1, 100, 300} {
			for range 20 {
				n++
				send(n, payload, key)
			}
		}
	}
	a.inOrder(s, 1, n)
	s.holds(s.content(), 1, n)
	send(n+1, limit-100, 10)
	s.endsWith(p, a, n+1, broker.ErrTooLarge)
}

// shrunk: large and small messages are on their way when the topic begins to refuse the large.
func shrunk(s *scene) {
	p, _ := s.acquire(position.Position{})
	a := newAcks()
	s.send(p, a, 1, 1, true)
	lowered := make(chan struct{})
	tick := time.NewTicker(700 * time.Microsecond) // less than the broker takes, most of the time
	defer tick.Stop()
	n := 1
	for round, lost := 0, false; !lost; round++ {
		if round == 50 {
			go func() {
				defer close(lowered)
				s.SetMaxMessageSize(s.T, s.topic, 300)
			}()
		}
		for range 1 + 9*(round%2) {
			n++
			m := s.message(n)
			if round%2 == 1 {
				m.Payload = make([]byte, 1000) // which is refused
			}
			p.Send(s.ctx, m, a.done(n))
		}
		select {
		case <-p.Lost():
			lost = true
		case <-s.ctx.Done():
			s.Fatal("nothing was refused")
		case <-tick.C:
		}
	}
	<-lowered
	acked := s.endsWith(p, a, n, broker.ErrTooLarge, broker.ErrLost)
	p.Close()
	all := s.content()
	if len(all) < acked {
		s.Fatalf("%d messages were acknowledged, the partition holds %d", acked, len(all))
	}
	s.holds(all, 1, len(all))
}

func unloaded(s *scene) {
	p, _ := s.acquire(position.Position{})
	a := newAcks()
	s.send(p, a, 1, 1, true)
	const total = 5000
	for n := 2; n <= total; n++ {
		if n == total/2 {
			s.Unload(s.T, s.topic)
		}
		p.Send(s.ctx, s.message(n), a.done(n))
	}
	// The broker closes the connection, or before that refuses what comes while it
	// gives the topic up.
	acked := s.endsWith(p, a, total, broker.ErrLost, broker.ErrNotReady)
	p.Close()
	// The next run starts over behind the tail. What was stored without an
	// acknowledgement is there once.
	q, at := s.acquire(stamp(1).Position)
	stored := int(at.Stamp.Ordinal)
	if stored < acked || at.ReadBack != digest(1, stored) {
		s.Fatalf("%d acknowledged, tail %+v", acked, at)
	}
	b := newAcks()
	s.send(q, b, stored+1, total, true)
	b.inOrder(s, stored+1, total)
	s.holds(s.content(), 1, total)
}

func closing(s *scene) {
	p, _ := s.acquire(position.Position{})
	a := newAcks()
	s.send(p, a, 1, 500, true)
	p.Close()
	p.Close()
	a.wait(s, 500)
	stored := 0
	for i, err := range a.errs {
		switch {
		case err == nil && stored == i:
			stored++
		case err == nil || !errors.Is(err, broker.ErrStopped):
			s.Fatalf("callback %d: %v", i, err)
		}
	}
	_, at := s.acquire(position.Position{})
	if int(at.Stamp.Ordinal) < stored {
		s.Fatalf("%d acknowledged, tail %v", stored, at.Stamp)
	}
	s.holds(s.content(), 1, int(at.Stamp.Ordinal))
}
