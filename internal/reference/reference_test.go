package reference

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestCurrent(t *testing.T) {
	for _, p := range Pages() {
		have, err := os.ReadFile(filepath.Join("..", "..", p.Path))
		if err != nil || !bytes.Equal(have, p.Text) {
			t.Errorf("%s is not current (%v): run `make generate`", p.Path, err)
		}
	}
}
