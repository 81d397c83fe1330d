package capture

import (
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestMarks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, want := newMarks(), make(map[int64]bool)
		near := rapid.Int64Range(-10, 3<<blockBits)
		anywhere := rapid.Int64Range(math.MinInt64, math.MaxInt64-1)
		drawn := rapid.OneOf(near, anywhere)
		for _, seq := range rapid.SliceOf(drawn).Draw(t, "marked") {
			m.add(seq)
			want[seq] = true
		}
		for _, seq := range append(rapid.SliceOf(drawn).Draw(t, "asked for"), slices.Collect(maps.Keys(want))...) {
			if m.has(seq) != want[seq] {
				t.Fatalf("%d is marked: %v", seq, m.has(seq))
			}
		}
		sum := make(map[int64]sums)
		for seq := range want {
			s, low := sum[seq>>12], seq&4095
			sum[seq>>12] = sums{s.count + 1, s.seqs + low, s.squares + low*low}
		}
		for block, want := range sum {
			if got := m.sums(block); got != want {
				t.Fatalf("of block %d: %+v, want %+v", block, got, want)
			}
		}
		if m.full() || m.sums(math.MaxInt64) != (sums{}) {
			t.Fatal("there is room, and of another block nothing is marked")
		}
	})
}

// TestMarksFull: beyond the bound nothing is claimed of what had no room.
func TestMarksFull(t *testing.T) {
	m := newMarks()
	for i := range int64(maxBlocks) {
		m.add(i << blockBits)
	}
	if m.full() {
		t.Fatal("full too early")
	}
	const first = int64(maxBlocks) << blockBits
	m.add(first + 5_000)
	m.add(first + 3)
	m.add(first + 9_000)
	m.add(1)
	if m.end != first+3 || !m.full() || m.has(first+3) || !m.has(1) || len(m.blocks) != maxBlocks {
		t.Fatalf("%d blocks, up to %d", len(m.blocks), m.end)
	}
}

// TestMarksAllocate: what is kept of a row is a bit.
func TestMarksAllocate(t *testing.T) {
	m := newMarks()
	n := int64(0)
	perRow := testing.AllocsPerRun(1<<16, func() { m.add(n); n++ })
	if perRow != 0 || len(m.blocks) != 17 {
		t.Fatalf("%v allocations a row, %d blocks", perRow, len(m.blocks))
	}
}
