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
		words := make(map[int64]uint64)
		for seq := range want {
			words[seq>>6] |= 1 << (seq & 63)
		}
		for number, want := range words {
			if got := m.word(number); got != want {
				t.Fatalf("word %d: %x, want %x", number, got, want)
			}
		}
		if m.full() {
			t.Fatal("there is room")
		}
	})
}

// TestMarksFull: beyond the bound it is the newest of which nothing is claimed, in whatever order
// they come.
func TestMarksFull(t *testing.T) {
	m := newMarks()
	for i := range int64(maxBlocks) {
		m.add((i + 10) << blockBits)
	}
	if m.full() {
		t.Fatal("full too early")
	}
	const first = int64(maxBlocks+10) << blockBits
	m.add(first + 5_000)
	m.add(first + 3)
	m.add(first + 9_000)
	if m.end != first || !m.full() || m.has(first+3) || len(m.blocks) != maxBlocks {
		t.Fatalf("%d blocks, up to %d", len(m.blocks), m.end)
	}
	if n := testing.AllocsPerRun(100_000, func() { m.add(first + 9_000) }); n != 0 {
		t.Fatalf("%v allocations for each row that is not marked", n)
	}
	m.add(7) // of a transaction that was open for long
	if m.end != first-1<<blockBits || !m.has(7) || !m.has(10<<blockBits) || m.has(m.end) || len(m.blocks) != maxBlocks {
		t.Fatalf("%d blocks, up to %d", len(m.blocks), m.end)
	}
	m.add(8)
	m.add(first - 1<<blockBits + 4) // is forgotten
	if m.end != first-1<<blockBits || !m.has(8) || len(m.blocks) != maxBlocks {
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
