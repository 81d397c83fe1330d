package capture

import "github.com/runnel-cdc/runnel/router"

const (
	maxInputs = 512       // of a batch
	maxBytes  = chunkSize // of rows in a batch, but for the last row
)

// batcher collects inputs into batches, whose slices are cut from slabs so
// that a small batch does not cost a large allocation.
//
// A slab keeps alive what all its inputs alias, so it is given up after
// maxBytes of rows, however few they are.
type batcher struct {
	slab      []router.Input
	start     int // where the current batch begins in slab
	bytes     int // of the current batch
	slabBytes int
}

// next returns a zeroed input to fill in. full must be asked after each.
func (b *batcher) next() *router.Input {
	if cap(b.slab) == 0 {
		b.slab = make([]router.Input, 0, maxInputs)
	}
	b.slab = b.slab[:len(b.slab)+1]
	return &b.slab[len(b.slab)-1]
}

// drop takes back the input that next returned last.
func (b *batcher) drop() { b.slab = b.slab[:len(b.slab)-1] }

// last returns the newest input of the current batch, or nil.
func (b *batcher) last() *router.Input {
	if b.empty() {
		return nil
	}
	return &b.slab[len(b.slab)-1]
}

func (b *batcher) empty() bool { return len(b.slab) == b.start }

func (b *batcher) full() bool {
	return len(b.slab) == cap(b.slab) && !b.empty() || b.bytes >= maxBytes
}

// cut takes the current batch out.
func (b *batcher) cut() *router.Batch {
	batch := &router.Batch{Inputs: b.slab[b.start:len(b.slab):len(b.slab)], Bytes: b.bytes}
	b.slabBytes += b.bytes
	b.start, b.bytes = len(b.slab), 0
	if len(b.slab) == cap(b.slab) || b.slabBytes >= maxBytes {
		*b = batcher{}
	}
	return batch
}
