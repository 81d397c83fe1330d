package router

import (
	"encoding/json"
	"slices"

	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// park hands an event to the dead-letter topic.
func (s *State) park(u *undecided, rank position.Position) (done bool, err error) {
	p := s.parking
	e, l := &u.event, &s.lanes[p.lane]
	letter := &deadletter.Letter{
		Entry:     deadletter.Entry{Position: e.Position, Rank: rank, ID: e.ID, Key: u.key(), Committed: s.window.at(u.txn).committed},
		EventType: string(e.Type), Encoding: uint8(e.Encoding), Fingerprint: e.Fingerprint,
		Headers: e.Headers, OccurredAt: e.OccurredAt,
	}
	if !u.retry.rank.IsZero() {
		letter.Committed = u.retry.committed
	}
	letter.Code, letter.Reason = reason(u.err)
	floor := e.Position
	if now := p.log.Summary(); now.Events > 0 {
		floor = now.Floor // positions rise
	}
	out := Send{
		Stamp: position.Stamp{Position: e.Position}, Key: string(e.AggregateID),
		Payload: e.Payload, ID: e.ID, Type: deadletter.EventParked, OccurredAt: e.OccurredAt,
	}
	properties := letter.Properties(floor)
	out.More = beside(properties)
	if tooLarge := s.checkSize(&out, l.maxBytes); tooLarge != nil {
		if out.Payload, err = deadletter.Pack(e.Payload, properties); err != nil {
			return false, err
		}
		out.More = beside(properties)
		if err := s.checkSize(&out, l.maxBytes); err != nil {
			s.reject(poison(ErrTooLarge.Wrap(err, "event %s is too large for the dead-letter topic, too, where it was to be parked because of %s", uuid(e.ID), letter.Code), e))
			return false, nil
		}
	}
	p.log.Park(letter.Entry)
	letter.Headers = append([]byte(nil), e.Headers...)
	s.ready.Notices = append(s.ready.Notices, Notice{Letter: letter})
	return true, s.hand(p.lane, &u.waiting, out)
}

// reason takes an error apart; where it happened the letter tells.
func reason(err error) (code, text string) {
	f := fault.Find(err)
	switch {
	case f == nil:
		return "", err.Error()
	case f.Err == nil:
		return f.Code.ID, f.Message
	}
	return f.Code.ID, f.Message + ": " + f.Err.Error()
}

// beside returns what goes into Send.More.
func beside(all map[string]string) properties.List {
	return slices.DeleteFunc(properties.FromMap(all), func(p properties.Pair) bool {
		return p.Name == PropertyID || p.Name == PropertyType
	})
}

// queueControl takes a control record.
func (s *State) queueControl(c *Control) error {
	if c.Kind != deadletter.ControlRelease {
		return ErrControl.New("a record of kind %.80q", c.Kind).At("position %s", c.Position)
	}
	if s.parking == nil {
		return ErrNoDeadLetters.New("parked events are released at position %s", c.Position)
	}
	return s.enqueue(&undecided{control: c, waiting: waiting{event: Event{Position: c.Position}}})
}

// release carries out a control record that releases parked events: they are parked no
// more, and the rows that follow it in its transaction are theirs. The dead-letter topic
// gets it, so that a later run knows. What it names and is not parked any more was
// released before (invariant 5 of parking).
func (s *State) release(u *undecided) (done bool, err error) {
	p, l, c := s.parking, &s.lanes[s.parking.lane], u.control
	record, refs, err := deadletter.ParseRecord(c.Body)
	if err != nil {
		return false, ErrControl.Wrap(err, "a record of kind %q", c.Kind).At("position %s", c.Position)
	}
	if was, ok := p.held[c.Position]; ok { // invariant 3 of parking
		if was == nil {
			return false, s.unreleased(c.Position)
		}
		released, err := was.Entries()
		if err != nil {
			return false, err
		}
		p.retry(c.Position, record, refs, released)
		return true, s.skipQueued(l, u)
	}
	if c.Position.Compare(p.tail) <= 0 {
		return false, s.unreleased(c.Position)
	}
	var released []deadletter.Entry
	for _, ref := range refs {
		if e, ok := p.log.Release(record.Key(), ref); ok {
			released = append(released, e)
		}
	}
	floor := c.Position
	if now := p.log.Summary(); now.Events > 0 {
		floor = now.Floor
	}
	notice := deadletter.NewRelease(record.Key(), record.Discard, released)
	payload, err := json.Marshal(notice)
	if err != nil {
		return false, err
	}
	out := Send{Stamp: position.Stamp{Position: c.Position}, Key: record.AggregateID, Payload: payload, NoID: true,
		Type: deadletter.EventReleased, More: beside(notice.Properties(floor))}
	if err := s.checkSize(&out, l.maxBytes); err != nil {
		return false, ErrControl.Wrap(err, "a record of kind %q names too many events", c.Kind).At("position %s", c.Position)
	}
	p.retry(c.Position, record, refs, released)
	s.ready.Notices = append(s.ready.Notices, Notice{Released: &notice, Left: len(p.log.Of(record.Key()))})
	return true, s.hand(p.lane, &u.waiting, out)
}

// unreleased is the error for a control record that the dead-letter topic, which goes
// beyond it, does not hold.
func (s *State) unreleased(at position.Position) error {
	return ErrHole.New("the control record at %s is not in the topic, which ends at %s", at, s.parking.tail).At("%s", s.name(&s.lanes[s.parking.lane]))
}

// retry notes what the rows that follow a record keep.
func (p *parking) retry(at position.Position, record deadletter.Record, refs []deadletter.Ref, released []deadletter.Entry) {
	if p.retried == nil || p.tx.Epoch != at.Epoch || p.tx.LSN != at.LSN {
		p.retried, p.tx = make(map[[16]byte][]retry), at
	}
	if record.Discard {
		return
	}
	ranks := make(map[deadletter.Ref]deadletter.Entry, len(released))
	for _, e := range released {
		ranks[deadletter.Ref{ID: e.ID, Position: e.Position}] = e
	}
	for _, ref := range refs {
		e, ok := ranks[ref]
		p.retried[ref.ID] = append(p.retried[ref.ID], retry{rank: e.Rank, committed: e.Committed, dropped: !ok})
	}
}
