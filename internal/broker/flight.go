package broker

import (
	"sync"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
)

// entry is a batch in flight, and who waits for it.
type entry struct {
	batch   *wire.Batch // until it is sent
	version []byte      // of the messages' schema
	first   uint64      // sequence id of the first message
	done    []func(MessageID, error)
	bytes   int64 // of payload
	sealed  int   // the batch's size, once it is sent
	next    *entry
}

var entries = sync.Pool{New: func() any { return new(entry) }}

// recycle gives an entry back whose callbacks have run.
func (e *entry) recycle() {
	clear(e.done)
	if cap(e.done) > 256 && len(e.done) < cap(e.done)/4 { // what a busy partition needs a calm one does not keep
		e.done = nil
	}
	*e = entry{done: e.done[:0]}
	entries.Put(e)
}

// flight is the queue of entries in order of sending: those that were given to the link, then
// those that wait; the last one may still be open. A steady stream allocates nothing. Not safe
// for concurrent use.
type flight struct {
	head, tail *entry
	waiting    *entry // the first that was not given to the link
	sent       int    // entries that were
	count      int    // messages
	bytes      int64  // of payload
}

// open appends an entry.
func (f *flight) open(version []byte) *entry {
	e := entries.Get().(*entry)
	e.version = version
	if f.tail == nil {
		f.head = e
	} else {
		f.tail.next = e
	}
	f.tail = e
	if f.waiting == nil {
		f.waiting = e
	}
	return e
}

// largest is the size of the largest batch on its way.
func (f *flight) largest() (size int) {
	for i, e := 0, f.head; i < f.sent; i, e = i+1, e.next {
		size = max(size, e.sealed)
	}
	return size
}

// push adds a message to the last entry.
func (f *flight) push(done func(MessageID, error), bytes int) {
	e := f.tail
	e.done = append(e.done, done)
	e.bytes += int64(bytes)
	f.count++
	f.bytes += int64(bytes)
}

// pop removes the oldest entry, which was sent.
func (f *flight) pop() *entry {
	e := f.head
	if f.head = e.next; f.head == nil {
		f.tail = nil
	}
	f.sent--
	f.count -= len(e.done)
	f.bytes -= e.bytes
	return e
}
