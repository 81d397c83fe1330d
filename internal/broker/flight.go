package broker

import "github.com/apache/pulsar-client-go/pulsar"

// slot is one message in flight. Its ProducerMessage is what the client gets;
// its address identifies the message in the client's callback, so that no
// closure per message is needed.
type slot struct {
	message pulsar.ProducerMessage
	done    func(MessageID, error)
	bytes   int64
	next    *slot
}

// flight is the queue of slots in order of sending, with a free list so that
// a steady stream allocates nothing. Not safe for concurrent use.
type flight struct {
	head, tail *slot
	free       *slot
	count      int
	bytes      int64 // payload bytes in flight
}

// push appends a slot for bytes of payload.
func (f *flight) push(bytes int) *slot {
	s := f.free
	if s == nil {
		s = new(slot)
	} else {
		f.free, s.next = s.next, nil
	}
	s.bytes = int64(bytes)
	if f.tail == nil {
		f.head = s
	} else {
		f.tail.next = s
	}
	f.tail = s
	f.count++
	f.bytes += s.bytes
	return s
}

// pop removes the oldest slot and returns its callback. The slot may be used
// again by the next push.
func (f *flight) pop() func(MessageID, error) {
	s := f.head
	done := s.done
	f.head = s.next
	if f.head == nil {
		f.tail = nil
	}
	f.count--
	f.bytes -= s.bytes
	*s = slot{next: f.free}
	f.free = s
	return done
}
