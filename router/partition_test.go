package router

import (
	"fmt"
	"testing"
)

// The values are those of Guava's Hashing.murmur3_32_fixed(), which Pulsar's
// Java client uses, for the same keys.
func TestMurmur3(t *testing.T) {
	for key, want := range map[string]uint32{
		"":            0,
		"a":           0x3c2569b2,
		"ab":          0x9bbfd75f,
		"abc":         0xb3dd93fa,
		"abcd":        0x43ed676a,
		"hello":       0x248bfa47,
		"hello world": 0x5e928f0f,
	} {
		if got := murmur3([]byte(key)); got != want {
			t.Errorf("murmur3(%q) = %#x, want %#x", key, got, want)
		}
	}
}

func ExamplePartitionOf() {
	fmt.Println(PartitionOf([]byte("42"), 4), PartitionOf([]byte("42"), 1))
	// Output: 2 0
}
