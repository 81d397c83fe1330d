package scaling

import "github.com/runnel-cdc/runnel/internal/position"

// partition is one of a topic.
type partition struct {
	log      []message
	producer *session // nil: nobody
}

// tail returns the position of the last message.
func (p *partition) tail() position.Position {
	if len(p.log) == 0 {
		return position.Position{}
	}
	return p.log[len(p.log)-1].at
}

// session is a run's right to publish to a partition: exclusive, and gone for good once it
// is closed.
type session struct {
	partition int
	inFlight  []message // sent, not stored
	stored    int       // and not acknowledged
	closed    bool
}

// produce makes a producer, if there is none.
func (w *world) produce(p int) *session {
	s := &session{partition: p}
	w.partitions[p].producer = s
	w.sessions = append(w.sessions, s)
	return s
}

// free reports whether a partition has no producer.
func (w *world) free(p int) bool {
	return w.partitions[p].producer == nil || w.mutant == SharedProducers
}

// store makes the oldest message in flight durable.
func (w *world) store(s *session) error {
	m := s.inFlight[0]
	s.inFlight = s.inFlight[1:]
	s.stored++
	p := &w.partitions[s.partition]
	p.log = append(p.log, m)
	return w.checkStored(s.partition)
}

// close ends a session. Of what was in flight any first part is stored before whoever is next
// reads the tail: it settles.
func (w *world) close(s *session) error {
	for range w.pick(len(s.inFlight) + 1) {
		if err := w.store(s); err != nil {
			return err
		}
	}
	s.closed, s.inFlight = true, nil
	if p := &w.partitions[s.partition]; p.producer == s {
		p.producer = nil
	}
	return nil
}
