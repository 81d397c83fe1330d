package router

import (
	"fmt"

	"github.com/runnel-cdc/runnel/internal/position"
)

// Acquired tells that a lane asked for in Ready.Acquire is ours, and what it
// holds. Events that waited for it are skipped or handed out.
func (s *State) Acquired(a Acquired) error {
	if s.err == nil {
		s.err = s.acquired(a)
	}
	if s.err == nil {
		s.err = s.decide()
	}
	return s.err // not the poison: what came before it goes on
}

func (s *State) acquired(a Acquired) error {
	l := &s.lanes[a.Lane]
	if l.phase != laneAcquiring {
		return ErrProtocol.New("lane %d was acquired without being asked for", a.Lane)
	}
	if a.Tail.Epoch > s.epoch {
		return ErrEpochAhead.New("the partition's last message is of epoch %d, the database's history is epoch %d",
			a.Tail.Epoch, s.epoch).At("%s", s.name(l))
	}
	l.phase = laneProbing
	l.watermark, l.ordinal, l.acked = a.Tail.Position, a.Tail.Ordinal, a.Tail
	l.readBack, l.maxBytes, l.lost = a.ReadBack, a.MaxBytes, a.Lost
	if l.matched = l.readBack.Count == 0; !l.matched {
		s.unmatched++
	}
	queue := l.waiting
	l.waiting = nil
	for i := range queue {
		w := &queue[i]
		if w.event.Position.Compare(l.watermark) > 0 {
			if err := s.sendOrWait(a.Lane, l, w); err != nil {
				return err
			}
			continue
		}
		s.bytes -= w.bytes()
		s.events--
		if err := s.skipWaiting(l, w); err != nil {
			return err
		}
	}
	return nil
}

// sendOrWait keeps invariant 4 of lane: the probe goes alone.
func (s *State) sendOrWait(id Lane, l *lane, w *waiting) error {
	if l.phase == laneProbing && l.probed {
		l.waiting = append(l.waiting, *w)
		return nil
	}
	return s.send(id, l, w)
}

// Resize tells that the broker now accepts other sizes on a lane.
func (s *State) Resize(id Lane, maxBytes int) { s.lanes[id].maxBytes = maxBytes }

// Acked tells that the oldest n messages in flight on a lane are durable. The
// first of them all is the probe, found directly behind the tail.
func (s *State) Acked(id Lane, n int) error {
	if err := s.takeAcked(id, n); err != nil {
		return err
	}
	if s.err != nil {
		return nil // the run is over: whoever ended it knows
	}
	if s.err = s.goOn(); s.err == nil {
		s.err = s.decide()
	}
	return s.err
}

func (s *State) takeAcked(id Lane, n int) error {
	l := &s.lanes[id]
	if n > l.inFlight.len() {
		s.err = ErrAckOrder.New("%d acknowledgements with %d in flight", n, l.inFlight.len()).
			At("%s", s.name(l))
		return s.err
	}
	for range n {
		m := l.inFlight.pop()
		s.bytes -= m.bytes
		s.events--
		s.window.settle(m.txn, 1)
		l.acked = m.stamp
	}
	if l.phase != laneProbing || n == 0 {
		return nil
	}
	l.phase = laneOpen
	queue := l.waiting
	l.waiting = nil
	for i := range queue {
		// After an error nothing more is sent: the run is over, and the next
		// one finds these events again.
		if s.err != nil {
			return nil
		}
		if s.err = s.send(id, l, &queue[i]); s.err != nil {
			return s.err
		}
	}
	return nil
}

// skip notes that the partition holds the event already. Until the replay has
// matched, the first of a lane's skipped events holds its transaction back, and
// with it all that follow (invariant 3 of lane).
func (s *State) skip(l *lane, p position.Position) error {
	if p.Less(l.lost) {
		return nil
	}
	l.replayed.Add(p)
	if l.matched || l.replayed.Count > l.readBack.Count {
		return s.hole(l, p)
	}
	if !l.held {
		l.held, l.hold = true, s.window.add()
	}
	if p == l.watermark {
		return s.match(l, p)
	}
	return nil
}

// skipWaiting skips an event that was counted as pending when it came.
func (s *State) skipWaiting(l *lane, w *waiting) error {
	if !l.held && !w.event.Position.Less(l.lost) {
		l.held, l.hold = true, w.txn
		s.window.hold(w.txn)
	}
	err := s.skip(l, w.event.Position)
	s.window.settle(w.txn, 1)
	return err
}

// match compares, once, what was replayed with what the partition holds. p is
// the first position at or above the watermark.
func (s *State) match(l *lane, p position.Position) error {
	if l.matched {
		return nil
	}
	if l.replayed != l.readBack {
		return s.hole(l, p)
	}
	l.matched = true
	s.unmatched--
	if l.held {
		s.window.settle(l.hold, 1)
	}
	return nil
}

// overdue compares the lanes whose watermark the stream has passed without replaying
// it: what the partition holds there is not in the log, which is a hole, unless the
// database has lost it and what came before was replayed in full.
func (s *State) overdue(reached position.Position) error {
	if s.unmatched == 0 {
		return nil
	}
	for i := range s.lanes {
		l := &s.lanes[i]
		if l.phase >= laneProbing && !l.matched && l.watermark.Less(reached) {
			if err := s.match(l, reached); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *State) name(l *lane) string {
	return fmt.Sprintf("topic %s partition %d", s.topics[l.topic].Name, l.partition)
}

func (s *State) hole(l *lane, p position.Position) error {
	return ErrHole.New("the partition holds %d events from LSN %016x to its last at %s, the outbox's log holds %d of them (compared at %s)",
		l.readBack.Count, s.start.LSN, l.watermark, l.replayed.Count, p).
		At("%s", s.name(l))
}
