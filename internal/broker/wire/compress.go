package wire

import (
	"sync"

	"github.com/pierrec/lz4/v4"
)

const (
	compressionLZ4 = 1 // CompressionType of (proto): one LZ4 block, without a frame

	// worthCompressing is below what a handful of messages have: one alone has little
	// that repeats.
	worthCompressing = 1 << 10
)

// Each has a table of 128 KiB.
var compressors = sync.Pool{New: func() any { return new(lz4.Compressor) }}

// Compress has the messages compressed when the batch is sealed, if that makes it smaller by a
// tenth at least. SealedSize then is what the batch has at most.
func (b *Batch) Compress() { b.compress = true }

// pack compresses the messages.
func (b *Batch) pack() {
	messages := b.buf[b.room:]
	if len(messages) < worthCompressing {
		return
	}
	if need := b.room + lz4.CompressBlockBound(len(messages)); cap(b.spare) < need {
		b.spare = make([]byte, need)
	}
	spare := b.spare[:cap(b.spare)]
	c := compressors.Get().(*lz4.Compressor)
	n, err := c.CompressBlock(messages, spare[b.room:])
	compressors.Put(c)
	if err != nil || n == 0 || n > len(messages)/10*9 { // the error is that it does not fit
		return
	}
	b.plain = len(messages)
	b.buf, b.spare = spare[:b.room+n], b.buf
}
