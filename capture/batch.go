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
	slab      *lease[router.Input] // nil: none is begun
	used      int                  // inputs of slab
	start     int                  // where the current batch begins in slab
	bytes     int                  // of the current batch
	slabBytes int
	chunks    []*lease[byte] // that the current batch aliases
}

// next returns a zeroed input to fill in. full must be asked after each.
func (b *batcher) next() *router.Input {
	if b.slab == nil {
		b.slab = slabs.get()
	}
	b.used++
	return &b.slab.memory[b.used-1]
}

// drop takes back the input that next returned last, zeroed.
func (b *batcher) drop() { b.used-- }

// last returns the newest input of the current batch, or nil.
func (b *batcher) last() *router.Input {
	if b.empty() {
		return nil
	}
	return &b.slab.memory[b.used-1]
}

func (b *batcher) empty() bool { return b.used == b.start }

func (b *batcher) full() bool { return b.used == maxInputs && !b.empty() || b.bytes >= maxBytes }

// alias keeps a chunk for the current batch, whose newest input aliases it.
func (b *batcher) alias(c *lease[byte]) {
	if n := len(b.chunks); n > 0 && b.chunks[n-1] == c {
		return
	}
	c.hold()
	b.chunks = append(b.chunks, c)
}

// cut takes the current batch out.
func (b *batcher) cut() *router.Batch {
	held := &held{slab: b.slab, chunks: b.chunks}
	batch := &router.Batch{Inputs: b.slab.memory[b.start:b.used:b.used], Bytes: b.bytes, Release: held.release}
	b.slabBytes += b.bytes
	b.start, b.bytes, b.chunks = b.used, 0, nil
	if b.used == maxInputs || b.slabBytes >= maxBytes {
		*b = batcher{} // the batch holds what it held
	} else {
		b.slab.hold()
	}
	return batch
}

// held is what a batch holds.
type held struct {
	slab   *lease[router.Input]
	chunks []*lease[byte]
}

func (h *held) release() {
	h.slab.release()
	for _, c := range h.chunks {
		c.release()
	}
}
