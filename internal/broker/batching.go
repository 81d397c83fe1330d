package broker

import "bytes"

// When a batch leaves: when nothing of this producer is on its way. Idle, a message leaves
// at once; under load, a batch grows until the receipt of the one before has come.
//
// Invariant: what the broker refuses, it refuses with all that was sent after it. It may
// refuse one batch and store the next: where a topic accepts smaller ones since a moment ago,
// a small one behind a large one is stored, and there is a hole. So there is nothing behind it.
//
// But a batch has messages of one schema, and where writers with two versions of it take
// turns, it would be one message in each round trip. So a batch that is done for because of
// that leaves beside those on their way, padded to the size of the largest of them: a size
// that is refused for one is refused for those behind it.

// joined decides after a message has joined the open batch. state is held.
func (r *producer) joined() {
	if r.flight.sent == 0 {
		r.leave()
	}
}

const (
	maxBeside  = 64      // batches on their way at once
	maxPadding = 4 << 10 // bytes; more are not worth it
)

// mayFollow reports whether the open batch, which m cannot join, may leave beside those that
// are on their way. state is held.
func (r *producer) mayFollow(version []byte) bool {
	e := r.open
	return !bytes.Equal(e.version, version) && r.flight.sent < maxBeside && r.flight.largest()-e.batch.SealedSize() <= maxPadding
}

// leave gives the open batch to the link. state is held.
func (r *producer) leave() {
	e := r.open
	if r.flight.sent > 0 {
		e.batch.Pad(r.flight.largest())
	} else if r.owner.cfg.Compress {
		e.batch.Compress() // what goes beside it has the size at least that it has without
	}
	e.sealed = e.batch.SealedSize()
	r.open = nil
	r.flight.sent++
	r.link.Send(e.batch)
	e.batch = nil
}

// followReceipt lets the open batch leave, if nothing is on its way any more. state is held.
func (r *producer) followReceipt() {
	if r.open != nil && r.cause == nil && r.flight.sent == 0 {
		r.leave()
	}
}
