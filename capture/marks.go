package capture

import (
	"maps"
	"math"
	"slices"
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
	end    int64 // there was no room for some from here on; math.MaxInt64: there was for all
}

type markBlock [1 << blockBits / 64]uint64

func newMarks() marks {
	return marks{blocks: make(map[int64]*markBlock), end: math.MaxInt64}
}

// add marks a seq. It looks at all blocks where it must forget one, which happens once for a
// block; else it takes constant time.
func (m *marks) add(seq int64) {
	if seq >= m.end {
		return // nobody asks for it
	}
	if block := seq >> blockBits; m.last == nil || block != m.newest {
		b := m.blocks[block]
		if b == nil {
			if len(m.blocks) == maxBlocks && !m.makeRoom(block) {
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

// makeRoom forgets the highest block for a lower one: only what is newest is not known then. It
// reports whether there is room.
func (m *marks) makeRoom(block int64) bool {
	highest := slices.Max(slices.Collect(maps.Keys(m.blocks)))
	forgotten := max(block, highest)
	m.end = min(m.end, forgotten<<blockBits)
	if forgotten == highest {
		delete(m.blocks, highest)
	}
	return forgotten == highest
}

// full reports whether something could not be marked.
func (m *marks) full() bool { return m.end != math.MaxInt64 }

func (m *marks) has(seq int64) bool {
	b, low := m.blocks[seq>>blockBits], seq&blockMask
	return b != nil && b[low>>6]&(1<<(low&63)) != 0
}

// word is the marks of 64 seqs, the number-th of them.
func (m *marks) word(number int64) uint64 {
	b := m.blocks[number>>(blockBits-6)]
	if b == nil {
		return 0
	}
	return b[number&(blockMask>>6)]
}
