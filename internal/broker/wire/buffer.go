package wire

import "sync"

// buffers are what batches are built in: kept by size, so that a partition of a few messages does not
// hold what a busy one has left, and a large batch takes little more than four times what is in it.
var buffers [4]sync.Pool

// sizes are those of buffers. The last takes a full batch, with its headers.
var sizes = [len(buffers)]int{8 << 10, 32 << 10, 128 << 10, 576 << 10}

type buffer struct{ bytes []byte }

// takeBuffer returns an empty buffer with room for so many bytes.
func takeBuffer(room int) *buffer {
	for i, size := range sizes {
		if room <= size {
			if b, ok := buffers[i].Get().(*buffer); ok {
				return b
			}
			return &buffer{make([]byte, 0, size)}
		}
	}
	return &buffer{make([]byte, 0, room)}
}

// put gives a buffer back. One that is larger than any is not kept.
func (b *buffer) put() {
	room := cap(b.bytes)
	for i := len(sizes) - 1; i >= 0 && room <= 2*sizes[len(sizes)-1]; i-- {
		if sizes[i] <= room {
			b.bytes = b.bytes[:0]
			buffers[i].Put(b)
			return
		}
	}
}
