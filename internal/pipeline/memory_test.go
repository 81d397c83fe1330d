package pipeline

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemoryLimit(t *testing.T) {
	const inFlight, usual = 32 << 20, baseMemory + 32<<20
	for text, want := range map[string]int64{
		"max\n":                 usual,
		"9223372036854771712\n": usual, // version 1's way to say that there is none
		"52428800\n":            52428800 / 10 * 9,
		"0\n":                   usual,
		"many\n":                usual,
	} {
		name := filepath.Join(t.TempDir(), "memory.max")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := memoryLimit(inFlight, []string{filepath.Join(t.TempDir(), "none"), name}); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
