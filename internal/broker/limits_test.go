package broker

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// However messages are gathered, no batch exceeds the broker's limit. (That
// Batch.Size is no less than what the broker counts, package wire tests.)
func TestLimits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maximum := rapid.IntRange(300, 100_000).Draw(t, "maximum")
		name := strings.Repeat("n", rapid.IntRange(1, 50).Draw(t, "name"))
		r := &producer{limits: newLimits(maximum, len(name))}
		for n := range rapid.IntRange(1, 30).Draw(t, "messages") {
			m := &Outgoing{
				Key:        strings.Repeat("k", rapid.IntRange(0, maximum/8).Draw(t, "key")),
				Payload:    make([]byte, rapid.IntRange(0, maximum).Draw(t, "payload")),
				Properties: properties.List{{Name: "a", Value: strings.Repeat("v", rapid.IntRange(0, maximum/3).Draw(t, "property"))}},
			}
			size, err := r.limits.check(m)
			if (CheckSize(m, name, maximum) == nil) != (err == nil) {
				t.Fatal("CheckSize differs")
			}
			if err != nil {
				if !errors.Is(err, ErrTooLarge) || len(m.Payload)+2*len(m.Key)+len(m.Properties.Get("a"))+200+len(name) <= maximum {
					t.Fatal(err)
				}
				continue
			}
			if r.open == nil || !r.fits(size, nil) {
				r.open = &entry{batch: wire.NewBatch(name, nil)}
			}
			w := m.onWire()
			r.open.batch.Add(uint64(n), &w)
			if total := r.open.batch.Size(); total > maximum {
				t.Fatalf("a batch of %d bytes, the limit is %d", total, maximum)
			}
		}
	})
}
