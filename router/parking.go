package router

import (
	"errors"

	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/position"
)

// DeadLetters says what becomes of events that can't be published, where there is a
// dead-letter topic: the last of Config.Topics, of one partition.
type DeadLetters struct {
	// Park puts them there. Without it the first ends the reading; what waits behind an
	// event that is parked already is parked all the same, and so is one that was retried.
	Park bool
	// Limit is how many events may be parked. One more ends the reading.
	Limit int
	// Unknown is asked before an event is parked because it is of no type that its topic
	// has, or has no topic. It returns an error, which ends the run, if that may be out of
	// date. Default: it never is.
	Unknown func(aggregateType, eventType, topic string) error
}

// parking decides the fate of every event in the order of the stream: published, or
// parked, with the later ones of its aggregate behind it.
//
// Invariants:
//  1. Fates are decided in the order of the stream. One that can't be yet, as its lane is
//     not ours, holds up all that follow.
//  2. An event is handed to its topic only when everything parked before it is known to
//     be stored; until then it is held back, encoded. So, wherever a run dies, nothing
//     that it parked is lost and followed by something stored.
//  3. A replay decides alike. At or below the dead-letter topic's last position an event
//     was parked if and only if the topic holds its position, whatever codec and limits
//     say now. Else it was published, or was to be: it is, if its lane's watermark is
//     below it. Should that be impossible by now, the reading ends: it can't be parked
//     below what is parked, and nothing may pass it. Above the last position, an event at
//     or below its lane's watermark was published (by 2). What neither holds is decided
//     anew: nothing stored depends on it.
//  4. An event is published only if no event of its aggregate with a lower rank is
//     parked. Its rank is its position or, if it was retried, that of its first parking.
//  5. A retried row of an event that was not parked any more when its control record was
//     met is dropped: another record has released it, and its row is the event.
//  6. log is what the dead-letter topic adds up to, with what is in flight to it. Up to
//     the topic's last position nothing asks it: see 3.
type parking struct {
	cfg  DeadLetters
	lane Lane

	held  map[position.Position]*deadletter.Release // positions of the topic at or above State's start; nil: an event
	tail  position.Position                         // the topic's last, when this run began
	log   *deadletter.Log
	queue []*undecided

	back []heldBack // to be published, in order of positions: invariant 2

	retried map[[16]byte][]retry // of the transaction tx, by event id
	tx      position.Position
}

// undecided is an input whose fate is not decided yet.
type undecided struct {
	waiting
	lane    Lane              // noLane: no topic is known for it
	control *Control          // a control record; else an event
	reached position.Position // neither: the stream has reached this position
	ranked  bool
	retry   retry
	err     error // why it can't be published, once that is known
	behind  bool  // err is that an earlier event of its aggregate is parked
}

const noLane Lane = -1

// heldBack is an event that is published once what was parked before it is stored.
type heldBack struct {
	lane Lane
	waiting
	out Send
}

// retry is what a released event keeps.
type retry struct {
	rank      position.Position // zero: not retried
	committed int64
	dropped   bool // invariant 5
}

// Notice tells of a decision that a person should hear of.
type Notice struct {
	Letter   *deadletter.Letter  // parked
	Released *deadletter.Release // or released
	Left     int                 // of the released events' aggregate, events that are parked still
}

// Recover takes what the dead-letter topic holds. Nothing is decided before. log is what
// its messages add up to; held are the positions at or above Config.Start, with the
// releases among them.
func (s *State) Recover(a Acquired, log *deadletter.Log, held map[position.Position]*deadletter.Release) error {
	p := s.parking
	if p == nil || a.Lane != p.lane {
		return ErrProtocol.New("a dead-letter topic that is not known")
	}
	s.lanes[p.lane].phase = laneAcquiring
	p.log, p.held, p.tail = log, held, a.Tail.Position
	return s.Acquired(a)
}

// Parked says what is parked, once that is known.
func (s *State) Parked() (summary deadletter.Summary, known bool) {
	if s.parking == nil || s.parking.log == nil {
		return deadletter.Summary{}, s.parking == nil
	}
	return s.parking.log.Summary(), true
}

// DeadLetterLane returns the lane of the dead-letter topic, if there is one.
func (s *State) DeadLetterLane() (Lane, bool) {
	if s.parking == nil {
		return noLane, false
	}
	return s.parking.lane, true
}

// queueEvent puts a row in the queue, and decides what can be decided.
func (s *State) queueEvent(e *Event) error {
	p := s.parking
	u := &undecided{lane: noLane, waiting: waiting{event: *e}}
	switch t, err := s.target(e); {
	case len(e.AggregateID) == 0:
		u.err = poison(ErrNoAggregateID.New("event %s of type %s has no aggregate id", uuid(e.ID), e.Type), e)
	case isEnvironment(err):
		return err
	case err != nil:
		u.err = err
	default:
		u.target, u.lane = t, s.first[t.topic]+Lane(PartitionOf(e.AggregateID, s.topics[t.topic].Partitions))
		if _, ok := p.held[e.Position]; !ok {
			s.want(u.lane)
		}
	}
	return s.enqueue(u)
}

// want asks for a lane, once.
func (s *State) want(id Lane) {
	if l := &s.lanes[id]; l.phase == laneIdle {
		l.phase = laneAcquiring
		s.ready.Acquire = append(s.ready.Acquire, id)
	}
}

// enqueue queues an event or a control record of the open transaction.
func (s *State) enqueue(u *undecided) error {
	u.txn = s.window.add()
	u.size = u.cost()
	s.bytes += u.size
	s.events++
	s.parking.queue = append(s.parking.queue, u)
	if err := s.decide(); err != nil {
		return err
	}
	if len(s.parking.queue) > 0 && u.control == nil { // it is the last
		u.event.own()
	}
	return nil
}

func (u *undecided) cost() int {
	if u.control != nil {
		return len(u.control.Body) + eventOverhead
	}
	return cost(&u.event)
}

// reach tells that the stream has reached a position: see overdue.
func (s *State) reach(at position.Position) error {
	p := s.parking
	if p == nil || len(p.queue) == 0 {
		return s.overdue(at)
	}
	if last := p.queue[len(p.queue)-1]; last.isReached() {
		last.reached = at
	} else {
		p.queue = append(p.queue, &undecided{reached: at})
	}
	return nil
}

func (u *undecided) isReached() bool { return !u.reached.IsZero() }

// decide decides what can be decided now.
func (s *State) decide() error {
	p := s.parking
	if p == nil || s.lanes[p.lane].phase < laneProbing {
		return nil
	}
	for len(p.queue) > 0 && s.poison == nil && s.err == nil {
		done, err := s.fate(p.queue[0])
		if err != nil {
			return err
		}
		if !done {
			return nil
		}
		p.queue[0] = nil // lets its memory go
		if p.queue = p.queue[1:]; len(p.queue) == 0 {
			p.queue = nil
		}
	}
	return nil
}

// fate decides one; false when it cannot be decided yet.
func (s *State) fate(u *undecided) (done bool, err error) {
	switch {
	case u.isReached():
		return true, s.overdue(u.reached)
	case u.control != nil:
		return s.release(u)
	}
	p, at := s.parking, u.event.Position
	p.rank(u)
	if _, ok := p.held[at]; ok { // invariant 3
		return true, s.skipQueued(&s.lanes[p.lane], u)
	}
	if u.retry.dropped {
		s.uncount(u)
		s.window.settle(u.txn, 1)
		return true, nil
	}
	if u.lane != noLane {
		l := &s.lanes[u.lane]
		if l.phase < laneProbing {
			return false, nil
		}
		if at.Compare(l.watermark) <= 0 {
			return true, s.skipQueued(l, u)
		}
	}
	if at.Compare(p.tail) <= 0 {
		return s.publishNow(u)
	}
	return s.publishOrPark(u)
}

// publishNow publishes an event of which is known that it was to be: invariant 3.
func (s *State) publishNow(u *undecided) (done bool, err error) {
	if u.err == nil {
		done, err = s.publish(u)
		if done || isEnvironment(err) {
			return done, err
		}
		u.err = err
	}
	s.reject(poison(ErrSpoilt.Wrap(u.err, "position %s is parked", s.parking.tail), &u.event))
	return false, nil
}

// publish encodes an event, and hands it out when what was parked before it is stored.
// Its errors are the codec's.
func (s *State) publish(u *undecided) (done bool, err error) {
	p := s.parking
	out, err := s.encode(&s.lanes[u.lane], u.target, &u.event)
	if err != nil {
		return false, err
	}
	if len(p.back) == 0 && s.lanes[p.lane].outstanding() == 0 {
		return true, s.hand(u.lane, &u.waiting, out)
	}
	u.event = Event{Position: u.event.Position} // out has what is needed
	out.own()
	p.back = append(p.back, heldBack{u.lane, u.waiting, out})
	return true, nil
}

// goOn hands out what was held back for parked events that are stored now.
func (s *State) goOn() error {
	p := s.parking
	if p == nil {
		return nil
	}
	first, parking := s.lanes[p.lane].oldest()
	n := 0
	for ; n < len(p.back) && s.err == nil; n++ {
		h := &p.back[n]
		if parking && first.Less(h.event.Position) {
			break
		}
		if err := s.hand(h.lane, &h.waiting, h.out); err != nil {
			return err
		}
		*h = heldBack{} // lets its memory go
	}
	if p.back = p.back[n:]; len(p.back) == 0 {
		p.back = nil
	}
	return nil
}

// rank finds out, once, what a row keeps of a release in its transaction.
func (p *parking) rank(u *undecided) {
	if u.ranked {
		return
	}
	u.ranked = true
	e := &u.event
	if p.tx.Epoch != e.Position.Epoch || p.tx.LSN != e.Position.LSN {
		return
	}
	if all := p.retried[e.ID]; len(all) > 0 {
		u.retry, p.retried[e.ID] = all[0], all[1:]
	}
}

func (u *undecided) key() deadletter.Key {
	return deadletter.Key{AggregateType: string(u.event.AggregateType), AggregateID: string(u.event.AggregateID)}
}

// uncount takes an event out of what is queued or in flight.
func (s *State) uncount(u *undecided) {
	s.bytes -= u.size
	s.events--
}

// skipQueued skips what a lane holds already.
func (s *State) skipQueued(l *lane, u *undecided) error {
	s.uncount(u)
	return s.skipWaiting(l, &u.waiting)
}

// publishOrPark decides the fate of an event that nothing stored tells.
func (s *State) publishOrPark(u *undecided) (done bool, err error) {
	p := s.parking
	rank := u.event.Position
	if !u.retry.rank.IsZero() {
		rank = u.retry.rank
	}
	if u.err == nil && p.log.Blocks(u.key(), rank) { // invariant 4
		u.behind = true
		u.err = ErrBehind.New("event %s of aggregate %s %s", uuid(u.event.ID), u.event.AggregateType, u.event.AggregateID)
	}
	if u.err == nil {
		done, err := s.publish(u)
		if done || isEnvironment(err) || s.err != nil {
			return done, err
		}
		u.err = err
	}
	if p.cfg.Unknown != nil && errors.Is(u.err, ErrUnknownEvent) {
		aggregate, eventType := string(u.event.AggregateType), string(u.event.Type)
		if err := p.cfg.Unknown(aggregate, eventType, s.routes.Explain(aggregate, eventType).Topic); err != nil {
			return false, err
		}
	}
	switch {
	case !p.cfg.Park && !u.behind && u.retry.rank.IsZero():
		s.reject(u.err)
		return false, nil
	case p.log.Len() >= p.cfg.Limit:
		s.reject(poison(ErrParkedLimit.Wrap(u.err, "%d events are parked already", p.log.Len()), &u.event))
		return false, nil
	}
	return s.park(u, rank)
}

// outstanding returns how many messages wait for a lane or are in flight to it.
func (l *lane) outstanding() int { return l.inFlight.len() + len(l.waiting) }

// oldest returns the position of the first of them.
func (l *lane) oldest() (position.Position, bool) {
	switch {
	case l.inFlight.len() > 0:
		return l.inFlight.items[l.inFlight.head].stamp.Position, true
	case len(l.waiting) > 0:
		return l.waiting[0].event.Position, true
	}
	return position.Position{}, false
}
