package history

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/runnel-cdc/runnel/internal/position"
)

// Generation is a set of routes that the pipeline published under, from a position on.
type Generation struct {
	Generation uint32 `json:"generation"` // rising, from 1 on
	// After is the position above which it decides; "" for all there are.
	After  string  `json:"after,omitempty"`
	Hash   string  `json:"hash"` // of keys, which gives the partition: Murmur3
	Routes []Route `json:"routes"`
}

// Route is a routing rule, as the configuration has it.
type Route struct {
	Aggregate string `json:"aggregate,omitempty"`
	Type      string `json:"type,omitempty"`
	Topic     string `json:"topic"`
}

// Murmur3 is the hash of keys that Pulsar's clients call Murmur3_32Hash.
const Murmur3 = "murmur3"

// maxRouting bounds the generations of a record, in bytes; maxGenerations in number.
const (
	maxRouting     = maxRecord / 2
	maxGenerations = 256
)

// NewGeneration returns a generation that decides above a position.
func NewGeneration(number uint32, after position.Position, routes []Route) Generation {
	g := Generation{Generation: number, Hash: Murmur3, Routes: routes}
	if !after.IsZero() {
		g.After = after.String()
	}
	return g
}

// Begin returns the position above which the generation decides.
func (g Generation) Begin() (position.Position, error) {
	if g.After == "" {
		return position.Position{}, nil
	}
	return position.Parse(g.After)
}

// Same reports whether two generations route alike.
func (g Generation) Same(o Generation) bool {
	return g.Hash == o.Hash && slices.Equal(g.Routes, o.Routes)
}

// ParseRouting reads what json.Marshal writes of generations. The errors name the generation
// that is out of order, or not of this release.
func ParseRouting(text []byte) ([]Generation, error) {
	if len(text) > maxRecord {
		return nil, fmt.Errorf("generations of routes of %d bytes", len(text))
	}
	var all []Generation
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("generations of routes: %w", err)
	}
	return all, checkRouting(all)
}

func checkRouting(all []Generation) error {
	var number uint32
	var after position.Position
	for _, g := range all {
		begin, err := g.Begin()
		switch {
		case err != nil:
			return fmt.Errorf("generation %d of routes: %w", g.Generation, err)
		case g.Hash != Murmur3:
			return ErrNewer.New("generation %d of routes: hash of keys %.40q", g.Generation, g.Hash)
		case g.Generation <= number || begin.Less(after):
			return fmt.Errorf("generation %d of routes, after %s, is out of order", g.Generation, begin)
		}
		number, after = g.Generation, begin
	}
	return nil
}

// AddGeneration adds a newer one to generations. Those that have decided nothing, and the
// oldest of too many, are left out.
func AddGeneration(all []Generation, g Generation) []Generation {
	all = slices.DeleteFunc(slices.Clone(all), func(o Generation) bool { return o.After == g.After })
	all = append(all, g)
	for len(all) > maxGenerations || len(all) > 1 && size(all) > maxRouting {
		all = all[1:]
	}
	return all
}

func size(all []Generation) int {
	text, _ := json.Marshal(all) // of strings and numbers: no error
	return len(text)
}
