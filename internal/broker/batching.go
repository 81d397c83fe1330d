package broker

import "bytes"

// When a batch leaves: when nothing of this producer is on its way. Idle, a message leaves
// at once, with those that are sent in the same breath (Outgoing.More); under load, a batch
// grows until the receipt of the one before has come.
//
// Batches that are full wait in line meanwhile, so that whoever sends need not.
//
// Invariant: what the broker refuses, it refuses with all that was sent after it. It may
// refuse one batch and store the next: where a topic accepts smaller ones since a moment ago,
// a small one behind a large one is stored, and there is a hole. So there is nothing behind it.
//
// But a batch has messages of one schema, and where writers with two versions of it take
// turns, it would be one message in each round trip. So a batch that is done for because of
// that leaves beside those on their way, padded to the size of the largest of them: a size
// that is refused for one is refused for those behind it. What is refused for another reason,
// such as bytes that were harmed on their way, may leave a hole then. It is told to whoever
// acquires the partition next (ErrHole), as any is.

const (
	maxBeside  = 64      // batches on their way at once
	maxPadding = 4 << 10 // bytes; more are not worth it
)

// dispatch has the batches leave that may. state is held.
func (r *producer) dispatch() {
	for e := r.flight.waiting; e != nil && r.mayLeave(e); e = r.flight.waiting {
		r.leave(e)
	}
}

// mayLeave reports whether the first batch that waits may leave. state is held.
func (r *producer) mayLeave(e *entry) bool {
	if r.flight.sent == 0 {
		return e != r.open || !r.more
	}
	return e.next != nil && !bytes.Equal(e.version, e.next.version) &&
		r.flight.sent < maxBeside && r.flight.largest()-e.batch.SealedSize() <= maxPadding
}

// leave gives the first batch that waits to the link. state is held.
func (r *producer) leave(e *entry) {
	if r.flight.sent > 0 {
		e.batch.Pad(r.flight.largest())
	} else if r.owner.cfg.Compress {
		e.batch.Compress() // what goes beside it has the size at least that it has without
	}
	e.sealed = e.batch.SealedSize()
	if r.open == e {
		r.open = nil
	}
	r.flight.waiting = e.next
	r.flight.sent++
	r.link.Send(e.batch)
	e.batch = nil
}
