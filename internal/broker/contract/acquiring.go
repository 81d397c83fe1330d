package contract

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

func tail(s *scene) {
	s.fill(1, 5)
	p, at := s.acquire(stamp(6).Position)
	if at.Stamp != stamp(5) || at.ReadBack != (position.Digest{}) {
		s.Fatalf("tail %+v, want %v and nothing read back", at, stamp(5))
	}
	a := newAcks()
	s.send(p, a, 6, 10, true)
	a.inOrder(s, 6, 10)
	s.holds(s.content(), 1, 10)
}

func batchTail(s *scene) {
	s.fill(1, 300)
	_, at := s.acquire(stamp(301).Position)
	all := s.content()
	if last := all[len(all)-1]; at.Stamp != stamp(300) || at.Last != last.ID {
		s.Fatalf("tail %v at %v, want %v at %v", at.Stamp, at.Last, stamp(300), last.ID)
	}
}

func readBack(s *scene) {
	s.fill(1, 40)
	for _, from := range []int{1, 2, 20, 39, 40, 41} {
		p, at := s.acquire(stamp(from).Position)
		if want := digest(from, 40); at.ReadBack != want || at.Stamp != stamp(40) {
			s.Fatalf("replaying from %d: tail %v, digest %+v, want %+v", from, at.Stamp, at.ReadBack, want)
		}
		p.Close()
	}
	// What the database has lost stays where it is, and is not digested.
	r := s.request(stamp(20).Position)
	r.History = position.History{{Epoch: 1}, {Epoch: 2, Begin: stamp(31).LSN}}
	p, at, err := s.client.Acquire(s.ctx, r, nil)
	if err != nil {
		s.Fatalf("Acquire: %v", err)
	}
	p.Close()
	if want := digest(20, 30); at.ReadBack != want || at.Stamp != stamp(40) {
		s.Fatalf("with a history: tail %v, digest %+v, want %+v", at.Stamp, at.ReadBack, want)
	}
}

func longReadBack(s *scene) {
	// One entry each, so that stepping back by entries has something to do.
	var all []*broker.Outgoing
	for n := 1; n <= 200; n++ {
		all = append(all, s.message(n))
	}
	s.Publish(s.T, s.part, producerName, all...)
	for _, from := range []int{1, 3, 70, 150} {
		p, at := s.acquire(stamp(from).Position)
		if want := digest(from, 200); at.ReadBack != want {
			s.Fatalf("replaying from %d: digest %+v, want %+v", from, at.ReadBack, want)
		}
		p.Close()
	}
}

func waits(s *scene) {
	s.acquire(position.Position{})
	ctx, cancel := context.WithCancel(s.ctx)
	second := s.Connect(s.T, "second")
	var holder string
	_, _, err := second.Acquire(ctx, s.request(position.Position{}), func(h string) { holder = h; cancel() })
	if !errors.Is(err, broker.ErrNotOwner) || !errors.Is(err, context.Canceled) {
		s.Fatalf("Acquire beside an owner: %v", err)
	}
	if !strings.Contains(holder, "runnel-test-1") {
		s.Fatalf("the holder is said to be %q", holder)
	}
}

func takesOver(s *scene) {
	p, _ := s.acquire(position.Position{})
	a := newAcks()
	s.send(p, a, 1, 50, true)
	a.inOrder(s, 1, 50)
	second := s.Connect(s.T, "second")
	told := make(chan struct{})
	tell := sync.OnceFunc(func() { close(told) })
	var q broker.Producer
	var at broker.Tail
	var err error
	acquired := make(chan struct{})
	go func() {
		defer close(acquired)
		q, at, err = second.Acquire(s.ctx, s.request(stamp(51).Position), func(string) { tell() })
	}()
	select { // the first one goes on while the second one waits
	case <-told:
	case <-acquired:
		s.Fatalf("a second producer beside the first: %v", err)
	}
	s.send(p, a, 51, 100, true)
	a.inOrder(s, 1, 100)
	const limit = 1 << 20
	s.SetMaxMessageSize(s.T, s.topic, limit)
	p.Close()
	<-acquired
	if err != nil {
		s.Fatal(err)
	}
	defer q.Close()
	if at.Stamp != stamp(100) || at.ReadBack != digest(51, 100) || at.MaxMessageSize != limit {
		s.Fatalf("tail %+v, want what was there when the wait was over", at)
	}
	late := newAcks()
	p.Send(s.ctx, s.message(101), late.done(101))
	late.wait(s, 1)
	if !errors.Is(late.errs[0], broker.ErrStopped) {
		s.Fatalf("sending through a closed producer: %v", late.errs[0])
	}
	s.send(q, newAcks(), 101, 101, true)
	s.holds(s.content(), 1, 101)
}

func hole(s *scene) {
	s.Publish(s.T, s.part, producerName, s.message(1), s.message(2), s.message(4), s.message(5))
	err := s.acquireFails(broker.ErrHole)
	if text := err.Error(); !strings.Contains(text, stamp(2).Position.String()) || !strings.Contains(text, stamp(4).Position.String()) {
		s.Fatalf("%q does not name both sides of the hole", text)
	}
	// Below what will be replayed, nobody looks.
	p, at := s.acquire(stamp(5).Position)
	if at.Stamp != stamp(5) {
		s.Fatalf("tail %+v", at)
	}
	p.Close()
}

func disorder(s *scene) {
	wrong := s.message(2)
	wrong.Properties[0].Value = position.Stamp{Position: stamp(1).Position, Ordinal: 2}.String()
	s.Publish(s.T, s.part, producerName, s.message(1), wrong)
	s.acquireFails(broker.ErrHole)
}

func missing(s *scene) {
	name := s.Missing(s.T)
	if _, err := s.client.Partitions(s.ctx, name); !errors.Is(err, broker.ErrTopicMissing) {
		s.Errorf("Partitions of a missing topic: %v", err)
	}
	if n, err := s.client.Partitions(s.ctx, s.topic); n != 2 || err != nil {
		s.Errorf("Partitions: %d, %v", n, err)
	}
	plain := s.Unparted(s.T)
	if n, err := s.client.Partitions(s.ctx, plain); n != 0 || err != nil {
		s.Errorf("Partitions of a topic without: %d, %v", n, err)
	}
	for _, q := range []broker.Partition{{Topic: name}, {Topic: plain}, {Topic: s.topic, Index: 2}, {Topic: s.topic, Index: -1}} {
		s.part = q
		s.acquireFails(broker.ErrTopicMissing)
		if _, err := s.client.Read(s.ctx, q, broker.Start{}); !errors.Is(err, broker.ErrTopicMissing) {
			s.Errorf("Read of %v: %v", q, err)
		}
		if _, err := s.client.Subscribe(s.ctx, q, "sub"); !errors.Is(err, broker.ErrTopicMissing) {
			s.Errorf("Subscribe to %v: %v", q, err)
		}
	}
}

func deduplicationOff(s *scene) {
	s.SetDeduplication(s.T, s.topic, false)
	s.acquireFails(broker.ErrDeduplicationOff)
	s.SetDeduplication(s.T, s.topic, true)
	p, _ := s.acquire(position.Position{})
	p.Close()
}

func terminated(s *scene) {
	s.fill(1, 3)
	s.Terminate(s.T, s.topic)
	s.acquireFails(broker.ErrTopicTerminated)
	s.holds(s.content(), 1, 3)
}
