package scaling

import (
	"fmt"
	"math"

	"github.com/runnel-cdc/runnel/internal/position"
)

// unknown is where a layout begins whose record was not met yet: above everything.
const unknown = math.MaxUint64

// run is one life of a member's process.
//
// Invariants:
//  1. A member owns what lies above its layout's record and not above the next one's: what is
//     in its partitions there, and nothing else. It learns where that is from the records
//     themselves, in the stream, so that it cannot know too late; or from what was saved.
//  2. Where a layout begins is saved before the slot passes the record: it is not
//     streamed again.
//  3. A partition is acquired when every member that has owned it under an earlier layout
//     is drained, and not before: whoever held it meanwhile would keep them from it.
//  4. Then the tail is read: what is at or below it is skipped, what is above it is sent.
//  5. The index counts the rows of a transaction that the member's slot streams, always
//     by the same filter.
//  6. A member is drained when it has met the record that ends its layout, and
//     everything that it owns is acknowledged. That is saved before its slot is dropped.
type run struct {
	member
	name      string
	slot      *slot // nil: lost, which the run need not know
	dead      bool
	life      int
	next      uint64 // what it reads next
	confirmed uint64
	begin     uint64 // its layout's record
	end       uint64 // the next one's
	lanes     []lane
	window    []*pending
	events    int // read, not settled
}

// lane is a partition as a run has it.
type lane struct {
	session   *session
	watermark position.Position
	waiting   []event
	inFlight  []event
}

type event struct {
	message
	in *pending
}

// pending is a transaction that is not confirmed.
type pending struct {
	end  uint64
	left int // events not settled
}

func (w *world) start(m member) *run {
	s := w.slots[m]
	r := &run{
		member: m, slot: s, life: w.lives[m], next: s.confirmed, confirmed: s.confirmed,
		begin: w.saved(m.layout), end: w.saved(m.layout + 1), lanes: make([]lane, len(w.partitions)),
	}
	r.name = fmt.Sprintf("%s life %d", m, r.life)
	w.lives[m]++
	s.holder = r
	w.runs = append(w.runs, r)
	return r
}

// saved returns where a layout begins, if that was saved.
func (w *world) saved(l int) uint64 {
	if lsn, ok := w.begins[l]; ok {
		return lsn
	}
	return unknown
}

// owns reports whether the member publishes what was committed at lsn: invariant 1.
func (r *run) owns(w *world, lsn uint64) bool {
	return (r.begin < lsn || w.mutant == BeginsEarly) && (lsn <= r.end || w.mutant == GoesOn)
}

// filter reports whether the slot streams a row: its publication was there when the row was
// written, and lets it through.
func (r *run) filter(w *world, t *transaction, x row) bool {
	if t.written < w.published[r.layout] {
		return false
	}
	if w.mutant == OtherHash {
		return x.id%w.layouts[r.layout].members == r.index
	}
	return w.layouts[r.layout].owners[x.partition] == r.index
}

// read takes the next transaction.
func (r *run) read(w *world) error {
	t := w.read(r.next)
	if w.mutant == LearnsByTable && r.end == unknown && w.newest() > r.layout {
		r.end = r.next - 10 // the last that it has read: the record's place is not looked at
	}
	r.next = t.end
	if t.layout == r.layout && t.layout > 0 {
		r.begin = t.begin
	}
	if t.layout == r.layout+1 && r.end == unknown {
		r.end = t.begin
	}
	p := &pending{end: t.end}
	r.window = append(r.window, p)
	index := 0
	for _, x := range t.rows {
		if !r.filter(w, t, x) {
			if w.mutant == CountsAll && r.life%2 == 1 {
				index++
			}
			continue
		}
		m := message{at(t.begin, index), x.id}
		index++
		if !r.owns(w, t.begin) {
			continue
		}
		l := &r.lanes[x.partition]
		if l.session != nil && m.at.Compare(l.watermark) <= 0 {
			continue // it is there
		}
		p.left++
		r.events++
		l.waiting = append(l.waiting, event{m, p})
	}
	return nil
}

// mayRead: what a layout's end leaves to do is to publish what was read.
func (r *run) mayRead(w *world) bool {
	return r.slot != nil && r.events < memory && w.read(r.next) != nil && (r.next <= r.end || w.mutant == GoesOn)
}

// may reports whether a partition may be had: invariant 3.
func (r *run) may(w *world, p int) bool {
	from := 0
	switch w.mutant {
	case NoWait:
		return true
	case WaitsForLast:
		from = max(0, r.layout-1)
	}
	for l := from; l < r.layout; l++ {
		if !w.drained[member{l, w.layouts[l].owners[p]}] {
			return false
		}
	}
	return true
}

// acquire becomes a partition's producer and reads its tail: invariant 4.
func (r *run) acquire(w *world, p int) error {
	if r.slot == nil {
		w.reached[ghostAcquired] = true
	}
	l := &r.lanes[p]
	l.session = w.produce(p)
	l.watermark = w.partitions[p].tail()
	if w.mutant == NoTail {
		l.watermark = at(r.begin, math.MaxInt32)
	}
	waiting := l.waiting
	l.waiting = nil
	for _, e := range waiting {
		if e.at.Compare(l.watermark) <= 0 {
			r.settle(e)
		} else {
			l.waiting = append(l.waiting, e)
		}
	}
	return nil
}

func (r *run) settle(e event) {
	e.in.left--
	r.events--
}

func (r *run) send(w *world, p int) error {
	l := &r.lanes[p]
	e := l.waiting[0]
	l.waiting = l.waiting[1:]
	l.session.inFlight = append(l.session.inFlight, e.message)
	l.inFlight = append(l.inFlight, e)
	if w.mutant == ConfirmsSent {
		r.settle(e)
	}
	return nil
}

// acked takes the acknowledgement of the oldest message in flight.
func (r *run) acked(w *world, p int) error {
	l := &r.lanes[p]
	l.session.stored--
	if w.mutant != ConfirmsSent {
		r.settle(l.inFlight[0])
	}
	l.inFlight = l.inFlight[1:]
	return nil
}

// confirmable returns the end of the newest transaction such that it and all before it are
// settled.
func (r *run) confirmable() uint64 {
	lsn := r.confirmed
	for _, p := range r.window {
		if p.left > 0 {
			break
		}
		lsn = p.end
	}
	return lsn
}

// confirm tells the slot, after what must not be forgotten is saved: invariant 2.
func (r *run) confirm(w *world) error {
	lsn := r.confirmable()
	for len(r.window) > 0 && r.window[0].end <= lsn {
		r.window = r.window[1:]
	}
	r.confirmed = lsn
	if w.mutant != ForgetsBegin {
		if r.begin < lsn {
			w.begins[r.layout] = r.begin
		}
		if r.end < lsn {
			w.begins[r.layout+1] = r.end
		}
	}
	if r.slot == nil {
		return nil // nobody hears it
	}
	r.slot.confirmed = lsn
	return w.checkConfirmed(r.member, lsn)
}

// isDrained is invariant 6.
func (r *run) isDrained(w *world) bool {
	if w.mutant == DrainedAtRecord {
		return r.end < unknown
	}
	return r.end < r.confirmed
}

// stop ends the run. Its sessions end, each with any first part of what is in flight stored.
func (r *run) stop(w *world) error {
	r.dead = true
	if r.slot != nil {
		r.slot.holder, r.slot = nil, nil
	}
	for p := range r.lanes {
		if s := r.lanes[p].session; s != nil && !s.closed {
			w.reached[diedInFlight] = w.reached[diedInFlight] || r.layout > 0 && len(s.inFlight) > 0
			if err := w.close(s); err != nil {
				return err
			}
		}
	}
	return nil
}
