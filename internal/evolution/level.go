package evolution

import (
	"fmt"
	"strings"

	"github.com/runnel-cdc/runnel/internal/nearest"
)

// Level says which versions of an event must be readable by whom. The zero value is
// FullTransitive.
type Level struct {
	// lax are the directions that are not judged, so that nothing is forgotten by
	// leaving a Level out.
	noBackward, noForward, lastOnly bool
}

// The levels, as schema registries call them.
var (
	FullTransitive     = Level{}
	Full               = Level{lastOnly: true}
	BackwardTransitive = Level{noForward: true}
	Backward           = Level{noForward: true, lastOnly: true}
	ForwardTransitive  = Level{noBackward: true}
	Forward            = Level{noBackward: true, lastOnly: true}
	None               = Level{noBackward: true, noForward: true}
)

// Levels are all levels by their names, the default first.
var Levels = []string{"FULL_TRANSITIVE", "FULL", "BACKWARD_TRANSITIVE", "BACKWARD", "FORWARD_TRANSITIVE", "FORWARD", "NONE"}

var levels = []Level{FullTransitive, Full, BackwardTransitive, Backward, ForwardTransitive, Forward, None}

// ParseLevel reads a level's name, in any case.
func ParseLevel(name string) (Level, error) {
	for i, known := range Levels {
		if strings.EqualFold(known, name) {
			return levels[i], nil
		}
	}
	if near := nearest.Of(strings.ToUpper(name), Levels); near != "" {
		return Level{}, fmt.Errorf("%.100q is no compatibility level: did you mean %s?", name, near)
	}
	return Level{}, fmt.Errorf("%.100q is no compatibility level: write one of %s", name, strings.Join(Levels, ", "))
}

// String returns the level's name.
func (l Level) String() string {
	for i, known := range levels {
		if known == l {
			return Levels[i]
		}
	}
	return "NONE" // the last version of nothing
}

// Backward reports whether the new version must read what older ones wrote.
func (l Level) Backward() bool { return !l.noBackward }

// Forward reports whether older versions must read what the new one writes.
func (l Level) Forward() bool { return !l.noForward }

// weaker is the level that asks nothing of older readers, and the same of new ones.
func (l Level) weaker() Level {
	if l.noForward = true; l.noBackward {
		return None
	}
	return l
}

// Transitive reports whether all older versions count, and not only the last.
func (l Level) Transitive() bool { return !l.lastOnly }
