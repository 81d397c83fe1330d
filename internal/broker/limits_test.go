package broker

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// However messages are gathered as the client gathers them, no batch exceeds
// the broker's limit.
func TestLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maximum := rapid.IntRange(300, 100_000).Draw(t, "maximum")
		name := strings.Repeat("n", rapid.IntRange(1, 50).Draw(t, "name"))
		l := newLimits(maximum, len(name))
		counted, real, batchMeta := 0, 0, 0
		flush := func() {
			if total := real + batchMeta + frameOverhead + len(name); real > 0 && total > maximum {
				t.Fatalf("a batch of %d bytes, the limit is %d", total, maximum)
			}
			counted, real, batchMeta = 0, 0, 0
		}
		for range rapid.IntRange(1, 30).Draw(t, "messages") {
			m := &Outgoing{
				Key:        strings.Repeat("k", rapid.IntRange(0, maximum/8).Draw(t, "key")),
				Payload:    make([]byte, rapid.IntRange(0, maximum).Draw(t, "payload")),
				Properties: map[string]string{"a": strings.Repeat("v", rapid.IntRange(0, maximum/3).Draw(t, "property"))},
			}
			alone, err := l.check(m)
			if (CheckSize(m, name, maximum) == nil) != (err == nil) {
				t.Fatal("CheckSize differs")
			}
			if err != nil {
				if !errors.Is(err, ErrTooLarge) || len(m.Payload)+2*metadataSize(m) <= l.message {
					t.Fatal(err)
				}
				continue
			}
			// The client: batchContainer.hasSpace, then Add.
			if alone || (real > 0 && counted+len(m.Payload) > l.batch) {
				flush()
			}
			if real == 0 {
				batchMeta = metadataSize(m)
			}
			real += metadataSize(m) + len(m.Payload)
			counted = real
			if alone {
				flush()
			}
		}
		flush()
	})
}
