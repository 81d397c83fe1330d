package contract

import (
	"errors"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/properties"
)

func foreign(s *scene) {
	alien := s.message(2)
	alien.Properties = alien.Properties[1:] // without position
	s.Publish(s.T, s.part, producerName, s.message(1), alien)
	s.acquireFails(broker.ErrForeignMessage)
}

// forged looks like the pipeline's, but for who sent it.
func forged(s *scene) {
	s.fill(1, 2)
	s.Publish(s.T, s.part, stranger, s.message(3))
	s.acquireFails(broker.ErrForeignMessage)
}

// passedOver: messages that are listed do not count, wherever they lie; an own one that
// is listed does.
func passedOver(s *scene) {
	alien := s.message(1)
	alien.Properties = properties.List{{Name: "id", Value: "x"}}
	strange := func(n int) {
		for range n {
			s.Publish(s.T, s.part, stranger, alien)
		}
	}
	r := s.request(stamp(5).Position)
	strange(2)
	s.resume(r, 1, 4)
	strange(1)
	s.resume(r, 5, 8)
	strange(70) // more than the read-back steps back at first
	p, tail := s.passing(r)
	defer p.Close()
	if tail.Stamp != stamp(8) || tail.ReadBack.Count != 4 {
		s.Fatalf("the tail is %+v", tail)
	}
	a := newAcks()
	s.send(p, a, 9, 9, true)
	a.inOrder(s, 9, 9)
}

// misplaced: the read-back steps back to messages of another producer, which say that
// they are the first.
func misplaced(s *scene) {
	publish := func(producer string, from, to int) {
		for n := from; n <= to; n++ {
			s.Publish(s.T, s.part, producer, s.message(n))
		}
	}
	publish(producerName, 1, 40)
	for range 10 {
		publish(stranger, 1, 1)
	}
	publish(producerName, 41, 100) // 64 entries before the last one is a stranger's
	p, tail := s.passing(s.request(stamp(20).Position))
	p.Close()
	if want := digest(20, 100); tail.ReadBack != want || tail.Stamp != stamp(100) {
		s.Fatalf("the tail is %+v, want the digest %+v", tail, want)
	}
}

// passing acquires with everything listed that is in the partition.
func (s *scene) passing(r broker.AcquireRequest) (broker.Producer, broker.Tail) {
	s.Helper()
	if p, _, err := s.client.Acquire(s.ctx, r, nil); !errors.Is(err, broker.ErrForeignMessage) {
		if err == nil {
			p.Close()
		}
		s.Fatalf("Acquire beside foreign messages: %v", err)
	}
	var names []string
	for _, m := range s.content() {
		names = append(names, m.Name())
	}
	var err error
	if r.Foreign, err = broker.ParseForeign(names); err != nil {
		s.Fatal(err)
	}
	p, tail, err := s.client.Acquire(s.ctx, r, nil)
	if err != nil {
		s.Fatalf("Acquire: %v", err)
	}
	return p, tail
}

// resume publishes the messages from one to another behind foreign ones.
func (s *scene) resume(r broker.AcquireRequest, from, to int) {
	s.Helper()
	p, _ := s.passing(r)
	defer p.Close()
	a := newAcks()
	s.send(p, a, from, to, true)
	a.inOrder(s, from, to)
}

// resumed: behind messages that are lost for good the ordinals go on where they were.
func resumed(s *scene) {
	s.Publish(s.T, s.part, producerName, s.message(1), s.message(2), s.message(6), s.message(7))
	r := s.request(stamp(2).Position)
	r.Resumed = 4
	if _, _, err := s.client.Acquire(s.ctx, r, nil); !errors.Is(err, broker.ErrHole) {
		s.Fatalf("another hole: %v", err)
	}
	r.Resumed = 5
	p, tail, err := s.client.Acquire(s.ctx, r, nil)
	if err != nil || tail.Stamp != stamp(7) || tail.ReadBack != digest(6, 7) || tail.Lost != stamp(6).Position {
		s.Fatalf("%+v, %v", tail, err)
	}
	p.Close()
}
