package broker

// The sizes of messages and batches, in bytes. A topic's maxMessageSize counts
// a whole batch: the batch's metadata (with a copy of its first message's
// properties), and per message a length, its metadata and its payload. The
// client's own limit counts, for the message that is about to join, the
// payload only. A batch that is too large is refused without any callback,
// while later ones are stored: a hole. So the client's limit is set so low
// that no batch can be too large, and messages whose metadata is larger than
// that reckoning allows travel alone.

// limits is derived once from the effective maximum message size.
type limits struct {
	message  int // a message alone, with all metadata
	batch    int // what the client may gather, as it counts
	metadata int // above this, a message travels alone
}

const (
	maxBatch    = 256 << 10 // gathering more gains nothing
	maxMetadata = 32 << 10

	frameOverhead   = 10 + 64     // magic, checksum, lengths; the batch's fixed fields
	messageOverhead = 4 + 40      // length; payload size, event time, sequence id, flags
	propertyTags    = 2 + 3*3 - 1 // tags and lengths of one property, rounded up
	maxBatchCount   = 4000
)

func newLimits(maxMessageSize, producerName int) limits {
	l := limits{message: maxMessageSize - frameOverhead - producerName}
	l.metadata = min(maxMetadata, l.message/4)
	l.batch = max(1, min(maxBatch, l.message-2*l.metadata))
	return l
}

// metadataSize is an upper bound of what a message's metadata takes.
func metadataSize(m *Outgoing) int {
	n := messageOverhead + len(m.Key) + 4
	for k, v := range m.Properties {
		n += len(k) + len(v) + propertyTags
	}
	return n
}

// CheckSize returns ErrTooLarge when broker and topic would refuse m from a
// producer of that name; maxMessageSize as in Tail.
func CheckSize(m *Outgoing, producer string, maxMessageSize int) error {
	_, err := newLimits(maxMessageSize, len(producer)).check(m)
	return err
}

// check returns ErrTooLarge for a message that would be refused, and whether
// it must travel alone.
func (l limits) check(m *Outgoing) (alone bool, err error) {
	meta := metadataSize(m)
	if size := 2*meta + len(m.Payload); size > l.message {
		return false, ErrTooLarge.New("a message of %d bytes (payload %d, with metadata up to %d) is larger than the %d bytes that broker and topic accept",
			size, len(m.Payload), 2*meta, l.message)
	}
	return meta > l.metadata, nil
}
