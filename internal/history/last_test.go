package history

import (
	"errors"
	"testing"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

func TestFromMessage(t *testing.T) {
	t.Parallel()
	record := Record{Pipeline: "p", Eras: []Era{NewEra(1, "7", 1, 0x100, 0x100)}}
	for name, c := range map[string]struct {
		hash string
		want error
	}{
		"ours":                {Murmur3, nil},
		"of a newer release":  {"xxhash", ErrNewer},
		"without a hash":      {"", ErrNewer},
		"not a record at all": {"-", broker.ErrForeignMessage},
	} {
		g := NewGeneration(1, position.Position{}, []Route{{Topic: "order"}})
		g.Hash = c.hash
		record.Routing = []Generation{g}
		payload, err := record.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if c.hash == "-" {
			payload = []byte("hello")
		}
		if _, err := FromMessage(&broker.Incoming{Payload: payload}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
