package broker

import "github.com/runnel-cdc/runnel/internal/broker/wire"

// The sizes of messages and batches, in bytes. A topic's maxMessageSize counts a
// whole batch: the batch's metadata, and per message a length, its metadata and
// its payload. A batch that is too large is refused, and ends the producer. So
// sizes are rounded up.

// limits is derived once from the effective maximum message size.
type limits struct {
	message int // a message alone, and its key once more
	batch   int // wire.Batch.Size of a batch of several
}

const (
	maxBatch      = 512 << 10 // one round trip's worth of a fast partition
	maxBatchCount = 4000

	anySequence = 1 << 62 // takes as many bytes as any sequence id
)

func newLimits(maxMessageSize, producerName int) limits {
	return limits{
		message: maxMessageSize - wire.Overhead - producerName,
		batch:   min(maxBatch, maxMessageSize),
	}
}

// onWire is the message as the wire takes it.
func (m *Outgoing) onWire() wire.Message {
	w := wire.Message{Key: m.Key, Payload: m.Payload, Properties: m.Properties}
	if !m.EventTime.IsZero() {
		w.EventTime = m.EventTime.UnixMilli()
	}
	return w
}

// CheckSize returns ErrTooLarge when broker and topic would refuse m from a
// producer of that name; maxMessageSize as in Tail.
func CheckSize(m *Outgoing, producer string, maxMessageSize int) error {
	_, err := newLimits(maxMessageSize, len(producer)).check(m)
	return err
}

// check returns what m adds to a batch at most, and ErrTooLarge when it would be
// refused even alone.
func (l limits) check(m *Outgoing) (size int, err error) {
	w := m.onWire()
	size = w.MessageSize(anySequence)
	if all := size + len(m.Key); all > l.message {
		return 0, ErrTooLarge.New("a message of %d bytes (payload %d, with metadata up to %d) is larger than the %d bytes that broker and topic accept",
			all, len(m.Payload), all-len(m.Payload), l.message)
	}
	return size, nil
}
