package router

import (
	"unsafe"

	"github.com/runnel-cdc/runnel/internal/failpoint"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// Codec turns a row's payload into a message's, under one topic's schema.
// *schemas.TopicCodec is one. An error whose fault is of the environment's class ends
// the run; any other makes the event poison.
type Codec interface {
	AppendAvro(dst []byte, eventType string, fp schemas.Fingerprint, payload []byte) ([]byte, *schemas.TopicSchema, error)
	AppendJSON(dst []byte, eventType string, payload []byte) ([]byte, *schemas.TopicSchema, error)
}

// Topic is a topic that events may go to.
type Topic struct {
	Name       string // local name
	Partitions int    // fixed for life
	Codec      Codec
}

// Config describes a run.
type Config struct {
	Routes *Routes // of every event; see UseGenerations
	Topics []Topic
	// Gone are topics that were published to and are not there, each with the error that
	// ends the run when an event goes there: it may have been published, so it is not poison.
	Gone map[string]error
	// Start is the lowest position this run may replay; its LSN is confirmed.
	Start position.Position
	// Epoch is the newest of the database's history. Default: Start's.
	Epoch uint32
	// CheckSize returns an error for a message larger than the broker accepts.
	// Default: nothing is too large.
	CheckSize func(m *Send, maxBytes int) error
	// MaxBytes and MaxEvents bound what is queued and in flight. A single batch
	// may go over them. Defaults: 16 MiB, 65536.
	MaxBytes  int
	MaxEvents int
	// DeadLetters, if there is a dead-letter topic: the last of Topics then.
	DeadLetters *DeadLetters
}

// State is one run of the router: from the start of a replication stream until
// the first error. A run that ends is thrown away; the next one starts from
// the confirmed LSN and the partitions' tails, which is why nothing is kept.
//
// A State belongs to one goroutine. Feed it with Step, Acquired and Acked, and
// after each of them take what Ready holds.
type State struct {
	generations
	topics []Topic
	byName map[string]int
	gone   map[string]error
	lanes  []lane
	first  []Lane // first lane of each topic

	targets map[string]map[string]*target // aggregate type, event type

	window    *window
	start     position.Position
	epoch     uint32            // the newest
	tx        position.Position // of the open transaction; its Index is the next event's
	unmatched int               // lanes that hold replayed positions and have not matched yet

	checkSize         func(*Send, int) error
	sized             Send // what checkSize is asked about
	bytes, maxBytes   int
	events, maxEvents int

	parking *parking // nil: there is no dead-letter topic

	ready  Ready
	poison error // the first event that can't be published
	err    error // why the run is over at once
}

// Ready is what the caller has to do. The caller clears it with Reset after
// taking it.
type Ready struct {
	Acquire []Lane   // become the exclusive producer of these partitions
	Send    []Send   // publish, in this order within a lane; see Sent
	Notices []Notice // tell somebody

	arena []byte // of what Send refers to
}

// Reset empties r, keeping its memory.
func (r *Ready) Reset() {
	r.Acquire = r.Acquire[:0]
	r.Sent()
	clear(r.Notices)
	r.Notices = r.Notices[:0]
}

// Sent empties r.Send. The memory that its messages refer to is used again.
func (r *Ready) Sent() {
	clear(r.Send)
	r.Send = r.Send[:0]
	if failpoint.Enabled { // shows who reads what is not his any more
		for i := range r.arena {
			r.arena[i] = 0xdb
		}
	}
	if r.arena = r.arena[:0]; cap(r.arena) > keptArena {
		r.arena = nil
	}
}

// room returns the arena with room for n bytes. What lies in the one before is not moved.
func (r *Ready) room(n int) []byte {
	if cap(r.arena)-len(r.arena) < n {
		r.arena = make([]byte, 0, max(arenaSize, n))
	}
	return r.arena
}

const (
	arenaSize = 64 << 10
	keptArena = 256 << 10 // larger ones are not used again
)

// eventOverhead is what an event is counted with besides its text: what router and
// producer hold for one that waits or is in flight, rounded up.
const eventOverhead = 512

// New returns the state at the start of a run.
func New(cfg Config) *State {
	s := &State{
		generations: generations{routes: cfg.Routes}, topics: cfg.Topics,
		byName:   make(map[string]int, len(cfg.Topics)),
		gone:     cfg.Gone,
		targets:  make(map[string]map[string]*target),
		window:   newWindow(cfg.Start.LSN),
		start:    cfg.Start,
		epoch:    max(cfg.Epoch, cfg.Start.Epoch),
		tx:       position.Position{Epoch: cfg.Start.Epoch, LSN: cfg.Start.LSN},
		maxBytes: cfg.MaxBytes, maxEvents: cfg.MaxEvents,
	}
	if s.checkSize = cfg.CheckSize; s.checkSize == nil {
		s.checkSize = func(*Send, int) error { return nil }
	}
	if s.maxBytes <= 0 {
		s.maxBytes = 16 << 20
	}
	if s.maxEvents <= 0 {
		s.maxEvents = 65536
	}
	letters := -1
	if cfg.DeadLetters != nil {
		letters = len(cfg.Topics) - 1
	}
	for i, t := range cfg.Topics {
		if i == letters {
			s.parking = &parking{cfg: *cfg.DeadLetters, lane: Lane(len(s.lanes))}
		} else {
			s.byName[t.Name] = i
		}
		s.first = append(s.first, Lane(len(s.lanes)))
		for p := range t.Partitions {
			s.lanes = append(s.lanes, lane{topic: i, partition: p})
		}
	}
	return s
}

// Lanes returns the number of lanes.
func (s *State) Lanes() int { return len(s.lanes) }

// Partition returns the topic (its index in Config.Topics) and partition of a lane.
func (s *State) Partition(l Lane) (topic, partition int) {
	return s.lanes[l].topic, s.lanes[l].partition
}

// Ready returns what is to be done; the caller resets it.
func (s *State) Ready() *Ready { return &s.ready }

// Confirmed returns the LSN up to which everything is durable in its topic.
func (s *State) Confirmed() uint64 { return s.window.confirmed }

// Idle reports whether nothing is unconfirmed.
func (s *State) Idle() bool { return s.window.len() == 0 }

// Settled reports whether nothing more can be published without further input:
// nothing is in flight, and nothing waits but what stands behind an event that
// can't be published.
func (s *State) Settled() bool {
	for i := range s.lanes {
		l := &s.lanes[i]
		if l.inFlight.len() > 0 || (len(l.waiting) > 0 && !l.dead) {
			return false
		}
	}
	return s.parking == nil || len(s.parking.back) == 0
}

// Poison returns the first event that can't be published, nil while there is
// none. What came before it can still be published: see Settled.
func (s *State) Poison() error { return s.poison }

// Full reports whether the caller must stop reading until acknowledgements
// have come.
func (s *State) Full() bool {
	return s.bytes >= s.maxBytes || s.events >= s.maxEvents
}

// InFlight returns the number of events and payload bytes queued or sent but
// not acknowledged.
func (s *State) InFlight() (events, bytes int) { return s.events, s.bytes }

// OldestUnpublished returns the commit time, in microseconds since the Unix
// epoch, of the oldest transaction that is not confirmed.
func (s *State) OldestUnpublished() (committed int64, ok bool) { return s.window.oldest() }

// Published returns the last message of a lane that is known to be durable.
func (s *State) Published(l Lane) position.Stamp { return s.lanes[l].acked }

// Step takes the next input of the replication stream. After an error nothing
// more may be fed; the confirmation stops before the event at fault.
//
// An event that can't be published (Poison) ends only the reading: what came
// before it goes on being acquired, sent and acknowledged until Settled. Any
// other error ends the run at once.
func (s *State) Step(in *Input) error {
	if err := s.failure(); err != nil {
		return err
	}
	s.err = s.step(in)
	return s.failure()
}

// failure returns why no more may be fed.
func (s *State) failure() error {
	if s.err != nil {
		return s.err
	}
	return s.poison
}

// reject notes an event that can't be published.
func (s *State) reject(err error) {
	if s.poison == nil {
		s.poison = err
	}
}

func (s *State) step(in *Input) error {
	switch in.Kind {
	case Begin:
		p := in.Transaction.Position
		begin := position.Position{Epoch: p.Epoch, LSN: p.LSN}
		if s.window.open || begin.Less(position.Position{Epoch: s.tx.Epoch, LSN: s.tx.LSN}) {
			return ErrProtocol.New("a transaction begins at %s after one at %s", p, s.tx)
		}
		if err := s.reach(begin); err != nil {
			return err
		}
		s.tx = begin
		s.window.begin(in.Transaction.Committed)
	case Row:
		if !s.window.open || in.Event.Position != s.tx {
			return ErrProtocol.New("a row at %s where %s was expected", in.Event.Position, s.tx)
		}
		if err := s.reroute(in.Event.Position); err != nil {
			return err
		}
		if err := s.route(&in.Event); err != nil {
			return err
		}
		s.tx.Index++
	case ControlRecord:
		if !s.window.open || in.Control.Position != s.tx {
			return ErrProtocol.New("a control record at %s where %s was expected", in.Control.Position, s.tx)
		}
		if err := s.queueControl(in.Control); err != nil {
			return err
		}
		s.tx.Index++
	case Commit:
		if !s.window.open {
			return ErrProtocol.New("a commit at %016x outside a transaction", in.LSN)
		}
		s.window.commit(in.LSN)
	case WALEnd:
		if s.window.open {
			return nil
		}
		if err := s.reach(position.Position{Epoch: max(in.Epoch, s.tx.Epoch), LSN: in.LSN}); err != nil {
			return err
		}
		s.window.walEnd(in.LSN)
	default:
		return ErrProtocol.New("an input of kind %d", in.Kind)
	}
	return nil
}

// route sends an event to its lane.
func (s *State) route(e *Event) error {
	if s.parking != nil {
		return s.queueEvent(e)
	}
	if len(e.AggregateID) == 0 {
		s.reject(poison(ErrNoAggregateID.New("event %s of type %s has no aggregate id", uuid(e.ID), e.Type), e))
		return nil
	}
	t, err := s.target(e)
	if isEnvironment(err) {
		return err
	}
	if err != nil {
		s.reject(err)
		return nil
	}
	id := s.first[t.topic] + Lane(PartitionOf(e.AggregateID, s.topics[t.topic].Partitions))
	l := &s.lanes[id]
	if l.phase >= laneProbing && e.Position.Compare(l.watermark) <= 0 {
		return s.skip(l, e.Position)
	}
	s.bytes += cost(e)
	s.events++
	w := waiting{txn: s.window.add(), target: t, event: *e}
	if l.phase == laneOpen || (l.phase == laneProbing && !l.probed) {
		return s.send(id, l, &w)
	}
	if l.dead {
		return nil // it is pending for good, in this run
	}
	w.event.own()
	l.waiting = append(l.waiting, w)
	if l.phase == laneIdle {
		l.phase = laneAcquiring
		s.ready.Acquire = append(s.ready.Acquire, id)
	}
	return nil
}

// cost is the memory that an event is counted with until it is published. Its
// payload is there twice: it is copied into a batch.
func cost(e *Event) int {
	return 2*len(e.Payload) + len(e.Headers) + len(e.AggregateID) + eventOverhead
}

// send encodes an event above the watermark, gives it the next ordinal and
// hands it out. One that can't be published stops the lane: nothing of the lane
// may pass it.
func (s *State) send(id Lane, l *lane, w *waiting) error {
	if err := s.match(l, w.event.Position); err != nil {
		return err
	}
	if l.dead {
		return nil
	}
	if w.out != nil {
		s.handOut(id, l, w, *w.out)
		return nil
	}
	out, err := s.encode(l, w.target, &w.event)
	switch {
	case isEnvironment(err):
		return err // the run is over; the next one finds the event again
	case err != nil:
		l.dead = true
		s.reject(err)
		return nil
	}
	s.handOut(id, l, w, out)
	return nil
}

// hand hands out a message whose fate is decided, or keeps it until the probe is
// acknowledged (invariant 4 of lane).
func (s *State) hand(id Lane, w *waiting, out Send) error {
	l := &s.lanes[id]
	if err := s.match(l, w.event.Position); err != nil {
		return err
	}
	if l.phase == laneProbing && l.probed {
		out.own()
		w.out = &out
		w.event = Event{Position: w.event.Position} // out has what is needed
		l.waiting = append(l.waiting, *w)
		return nil
	}
	s.handOut(id, l, w, out)
	return nil
}

// handOut gives a message the next ordinal.
func (s *State) handOut(id Lane, l *lane, w *waiting, out Send) {
	l.ordinal++
	l.probed = true
	out.Lane = id
	out.Stamp.Ordinal = l.ordinal
	l.inFlight.push(sent{txn: w.txn, bytes: w.bytes(), stamp: out.Stamp})
	s.ready.Send = append(s.ready.Send, out)
}

// text returns b as a string without copying: what is in an arena never changes.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// own copies what an event refers to, out of the batch it came in.
func (e *Event) own() {
	fields := [...]*[]byte{&e.AggregateType, &e.AggregateID, &e.Type, &e.Payload, &e.Headers}
	size := 0
	for _, f := range fields {
		size += len(*f)
	}
	memory := make([]byte, 0, size)
	for _, f := range fields {
		start := len(memory)
		memory = append(memory, *f...)
		*f = memory[start:len(memory):len(memory)]
	}
}
