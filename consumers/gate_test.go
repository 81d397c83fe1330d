package consumers

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/position"
)

func TestGate(t *testing.T) {
	at := func(lsn, ordinal uint64) position.Stamp {
		return position.Stamp{Position: position.Position{Epoch: 1, LSN: lsn}, Ordinal: ordinal}
	}
	for _, c := range []struct {
		name         string
		stored, next position.Stamp
		want         verdict
	}{
		{"first event", position.Stamp{}, at(5, 1), pass},
		{"first event is not the beginning", position.Stamp{}, at(5, 2), gap},
		{"next", at(5, 1), at(9, 2), pass},
		{"same", at(5, 1), at(5, 1), skip},
		{"older", at(9, 2), at(5, 1), skip},
		{"one is missing", at(5, 1), at(9, 3), gap},
		{"later position with the same ordinal", at(5, 1), at(9, 1), torn},
		{"later position with a lower ordinal", at(5, 9), at(9, 1), torn},
		{"older position with the next ordinal", at(5, 1), at(4, 2), torn},
		{"same position with another ordinal", at(5, 1), at(5, 2), torn},
		{"no ordinal", position.Stamp{}, at(5, 0), torn},
		{"no position", position.Stamp{}, position.Stamp{Ordinal: 1}, torn},
	} {
		if got := gate(c.stored, c.next); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// A partition that is delivered with repeats from any earlier point passes
// each event once and in order; without one of its events nothing behind the
// hole passes.
func TestGateOverRedeliveries(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "events")
		log := make([]position.Stamp, n)
		at := position.Position{Epoch: 1}
		for i := range log {
			if rapid.Bool().Draw(t, "new transaction") || i == 0 {
				at.LSN += rapid.Uint64Range(1, 1000).Draw(t, "step")
				at.Index = 0
			} else {
				at.Index++
			}
			log[i] = position.Stamp{Position: at, Ordinal: uint64(i) + 1}
		}
		missing := rapid.IntRange(-1, n-1).Draw(t, "missing")
		var stored position.Stamp
		passed := 0
		for range rapid.IntRange(1, 5).Draw(t, "deliveries") {
			for i := rapid.IntRange(0, passed).Draw(t, "from"); i < n; i++ {
				if i == missing {
					continue
				}
				v := gate(stored, log[i])
				switch {
				case missing >= 0 && i > missing:
					if v != gap {
						t.Fatalf("event %d behind the hole %d: %d", i, missing, v)
					}
				case i < passed && v != skip, i == passed && v != pass:
					t.Fatalf("event %d after %d: %d", i, passed, v)
				}
				if v == pass {
					stored, passed = log[i], passed+1
				}
			}
		}
	})
}
