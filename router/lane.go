package router

import (
	"bytes"
	"strings"

	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
	"github.com/runnel-cdc/runnel/schemas"
)

// Lane numbers a topic partition within a State, densely from 0.
type Lane int

// lanePhase is how far a lane has come in a run.
type lanePhase uint8

const (
	laneIdle      lanePhase = iota // no event came for it
	laneAcquiring                  // asked for; events wait
	laneProbing                    // may send one message, and wait for it
	laneOpen
)

// lane is the state of one topic partition.
//
// Invariant: the partition holds a prefix of what was routed to it, in position
// order. What keeps it:
//
//  1. Nothing is sent before the lane is acquired: the watermark is read after
//     exclusivity and settling.
//  2. An event at or below the watermark is skipped, one above it is sent.
//     Positions only rise, so the skipped ones come first.
//  3. A skipped event counts as published only when the replay has reached the
//     watermark and matched, position by position, what the partition holds:
//     a hole below the watermark is found before it can be confirmed away. What is
//     known as lost was published: it counts at once.
//  4. The first message is sent alone; the others wait until it is
//     acknowledged directly behind the tail.
//  5. Acknowledgements come in the order of sending.
//  6. What waits refers to memory of its own: a lane that stands still keeps no more
//     alive than what it counts. What is in flight refers to nothing.
type lane struct {
	topic     int // index in State.topics
	partition int
	phase     lanePhase

	lost      position.Position // what is below it was here, and can't be compared any more
	watermark position.Position
	readBack  position.Digest // of the partition, from the lowest replayed position
	replayed  position.Digest // of the skipped events
	matched   bool            // the replay reached the watermark and matched
	held      bool            // skipped events do not count as published yet:
	hold      txn             // they hold this transaction, that of the first, back

	ordinal  uint64 // of the last message sent, or found
	maxBytes int    // largest message the broker accepts

	waiting  []waiting      // routed, not sent: while acquiring and probing
	inFlight fifo           // sent, not acknowledged
	probed   bool           // the probe was sent
	dead     bool           // it met an event that can't be published: nothing more is sent
	acked    position.Stamp // of the last message known to be durable
}

// waiting is an event that is neither skipped nor sent yet. It is encoded only
// when it is sent: one that the partition holds already need not fit the
// schemas of today.
type waiting struct {
	txn    txn
	target *target
	event  Event
	out    *Send // the message, where its fate was decided already
	size   int   // what it is counted with; 0: cost of event
}

func (w *waiting) bytes() int {
	if w.size > 0 {
		return w.size
	}
	return cost(&w.event)
}

// sent is what is remembered of a message in flight.
type sent struct {
	txn   txn
	bytes int
	stamp position.Stamp
}

// fifo is a queue of messages in flight; its memory is reused.
type fifo struct {
	items []sent
	head  int
}

func (f *fifo) len() int { return len(f.items) - f.head }

func (f *fifo) push(s sent) {
	if f.head > 0 && len(f.items) == cap(f.items) {
		n := copy(f.items, f.items[f.head:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, s)
}

func (f *fifo) pop() sent {
	s := f.items[f.head]
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	}
	return s
}

// Send is a message to publish on a lane. The sends of one lane are in order. Key and
// Payload are valid until Ready.Sent, and as long as the batch that they came in.
type Send struct {
	Lane       Lane
	Stamp      position.Stamp
	Key        string
	Payload    []byte
	ID         [16]byte // UUID of the event
	NoID       bool     // there is no event
	Type       string
	More       properties.List // beside position, id and type: see PropertyBuffer
	OccurredAt int64           // microseconds since the Unix epoch
	Schema     *schemas.TopicSchema
}

// own copies what is valid for a while only.
func (m *Send) own() {
	m.Key, m.Payload = strings.Clone(m.Key), bytes.Clone(m.Payload)
}

// Acquired is what a partition was found to hold once its producer had become
// exclusive and earlier adds had settled.
type Acquired struct {
	Lane     Lane
	Tail     position.Stamp  // of the last message; zero when there is none
	ReadBack position.Digest // of all positions at or above State's start, in order
	MaxBytes int             // largest message in bytes, payload and metadata
	// Lost is above what the partition has held and lost for good: events below it are
	// skipped, and ReadBack is of what lies at or above it.
	Lost position.Position
}
