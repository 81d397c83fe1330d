package router

import (
	"slices"

	"github.com/runnel-cdc/runnel/internal/position"
)

// Generation is a set of routes, and from where on it decides.
type Generation struct {
	Number uint32            // from 1 on, rising
	After  position.Position // events above it, up to where the next generation begins
	Routes *Routes
}

// generations knows which routes decide the fate of an event.
//
// Invariants:
//  1. An event is routed by the newest generation that begins below its position. So a
//     replay, from wherever, routes every event as it was routed when it was published.
//  2. A generation begins at or above the position of everything that was published
//     under those before it: whoever adds one sees to that.
//  3. Nothing is routed by a generation before all that the ones before it route is
//     stored: an aggregate that changes its topic is nowhere seen to skip an event.
type generations struct {
	routes *Routes           // in force
	after  position.Position // what is not above it is decided by routes that nobody knows any more
	later  []Generation
}

// UseGenerations takes the place of Config.Routes, before the first Step. all are in
// order, at least one. An event that is not above the first one's beginning ends the run:
// ErrRoutesChanged.
func (s *State) UseGenerations(all []Generation) {
	s.generations = generations{routes: all[0].Routes, after: all[0].After, later: slices.Clone(all[1:])}
	clear(s.targets)
}

// Waits reports whether an input may be fed only when the broker has acknowledged more,
// or has let partitions be acquired: invariant 3 of generations.
func (s *State) Waits(in *Input) bool {
	return len(s.later) > 0 && in.Kind == Row && s.later[0].After.Less(in.Event.Position) && !s.quiet() && s.failure() == nil
}

// quiet reports whether every event that was fed is stored, or stands behind one that
// can't be. Those that were skipped are stored, whether or not they may be confirmed yet.
func (s *State) quiet() bool {
	return s.Settled() && (s.parking == nil || len(s.parking.queue) == 0)
}

// reroute brings the routes into force that decide at a position.
func (s *State) reroute(at position.Position) error {
	for len(s.later) > 0 && s.later[0].After.Less(at) {
		if !s.quiet() {
			return ErrProtocol.New("the row at %s was to wait", at)
		}
		s.routes, s.after, s.later = s.later[0].Routes, s.later[0].After, s.later[1:]
		clear(s.targets)
	}
	if !s.after.IsZero() && at.Compare(s.after) <= 0 {
		return ErrRoutesChanged.New("the event at %s comes before %s, from where on they are known", at, s.after)
	}
	return nil
}
