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
	messages := b.buf.bytes[b.room:]
	if len(messages) < worthCompressing {
		return
	}
	// Room for what is worth it, and no more: the error is that it does not fit.
	packed := takeBuffer(b.room + len(messages)/10*9)
	c := compressors.Get().(*lz4.Compressor)
	n, err := c.CompressBlock(messages, packed.bytes[b.room:b.room+len(messages)/10*9])
	compressors.Put(c)
	if err != nil || n == 0 {
		packed.put()
		return
	}
	b.plain = len(messages)
	b.buf.put()
	packed.bytes = packed.bytes[:b.room+n]
	b.buf = packed
}
