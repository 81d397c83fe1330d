package broker

import (
	"fmt"

	"github.com/runnel-cdc/runnel/internal/position"
)

// ReadBack checks the messages of one partition in their order: each carries
// a stamp, and from the last one below Replayed on, positions rise strictly
// and ordinals are dense. It digests what is at or above Replayed and in History. The
// zero value needs Replayed only.
type ReadBack struct {
	Replayed position.Position
	History  position.History
	Producer string  // of all messages; "": of any
	Foreign  Foreign // messages that are passed over
	Resumed  uint64  // the ordinal after this one may follow any: those between are known as lost

	any    bool
	first  position.Stamp
	lost   position.Position // of the message behind Resumed
	last   position.Stamp
	lastID MessageID
	digest position.Digest
}

// Add checks the next message. Errors: ErrForeignMessage, ErrHole.
func (b *ReadBack) Add(m *Incoming) error {
	stamp, err := m.Stamp()
	if err == nil && stamp.Ordinal == 0 {
		err = position.ErrMalformed
	}
	if err == nil && b.Producer != "" && m.Producer != b.Producer {
		err = fmt.Errorf("published by another than %q", b.Producer)
	}
	switch {
	case err != nil && b.Foreign.Lists(m):
		return nil
	case err != nil:
		return ErrForeignMessage.Wrap(err, "sent by producer %q", clip(m.Producer)).At("%s", m.Name())
	}
	// How far below Replayed reading began is chance, so nothing there decides.
	if b.any && !(b.last.Less(b.Replayed) && stamp.Less(b.Replayed)) {
		switch {
		case stamp.Ordinal != b.last.Ordinal+1 && !(b.Resumed > 0 && stamp.Ordinal == b.Resumed+1):
			return ErrHole.New("message %s has ordinal %d (position %s), but the one before it, %s, has %d (position %s)",
				m.ID, stamp.Ordinal, stamp.Position, b.lastID, b.last.Ordinal, b.last.Position).At("%s", m.Partition)
		case !b.last.Less(stamp.Position):
			return ErrHole.New("message %s has position %s, which does not sort after %s of the one before it, %s",
				m.ID, stamp.Position, b.last.Position, b.lastID).At("%s", m.Partition)
		}
	}
	if b.Resumed > 0 && stamp.Ordinal == b.Resumed+1 {
		b.lost, b.digest = stamp.Position, position.Digest{}
	}
	if !b.any {
		b.first = stamp
	}
	b.any, b.last, b.lastID = true, stamp, m.ID
	if !stamp.Less(b.Replayed) && b.History.Holds(stamp.Position) {
		b.digest.Add(stamp.Position)
	}
	return nil
}

// Tail returns what is known after the last message.
func (b *ReadBack) Tail() Tail {
	if !b.any {
		return Tail{}
	}
	return Tail{Stamp: b.last, Last: b.lastID, ReadBack: b.digest, First: b.first, Lost: b.lost}
}
