package capture

import (
	"math"
	"math/bits"
)

const (
	blockBits = 12       // rows of a block, by seq: 4,096
	maxBlocks = 16 << 10 // 8 MiB, 67 million rows
	blockMask = int64(1)<<blockBits - 1
)

// marks are the seqs that the stream has shown: a bit for each, in blocks of those that are
// close together.
//
// Invariant: a seq below end is marked if, and only if, it was shown.
type marks struct {
	blocks map[int64]*markBlock // by seq >> blockBits
	newest int64                // the block that was marked last
	last   *markBlock
	end    int64 // there was no room for this one; math.MaxInt64: there was for all
}

type markBlock [1 << blockBits / 64]uint64

// sums are what the rows of a block are compared by, of the lower bits of their seqs.
type sums struct{ count, seqs, squares int64 }

func newMarks() marks {
	return marks{blocks: make(map[int64]*markBlock), end: math.MaxInt64}
}

// add marks a seq, in constant time.
func (m *marks) add(seq int64) {
	if block := seq >> blockBits; m.last == nil || block != m.newest {
		b := m.blocks[block]
		if b == nil {
			if len(m.blocks) == maxBlocks {
				m.end = min(m.end, seq)
				return
			}
			b = new(markBlock)
			m.blocks[block] = b
		}
		m.newest, m.last = block, b
	}
	low := seq & blockMask
	m.last[low>>6] |= 1 << (low & 63)
}

// full reports whether something could not be marked.
func (m *marks) full() bool { return m.end != math.MaxInt64 }

func (m *marks) has(seq int64) bool {
	b, low := m.blocks[seq>>blockBits], seq&blockMask
	return b != nil && b[low>>6]&(1<<(low&63)) != 0
}

func (m *marks) sums(block int64) (s sums) {
	b := m.blocks[block]
	if b == nil {
		return s
	}
	for i, word := range b {
		for ; word != 0; word &= word - 1 {
			low := int64(i<<6 + bits.TrailingZeros64(word))
			s.count++
			s.seqs += low
			s.squares += low * low
		}
	}
	return s
}
