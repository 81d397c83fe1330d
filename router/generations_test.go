package router

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// drawRoutes sends each aggregate type to any of the topics.
func drawRoutes(t *rapid.T) *Routes {
	topic := rapid.SampledFrom([]string{"a0", "a1", "a2"})
	routes, err := NewRoutes([]RouteRule{{Aggregate: "a0", Topic: topic.Draw(t, "a0")}, {Aggregate: "a1", Topic: topic.Draw(t, "a1")}})
	if err != nil {
		t.Fatal(err)
	}
	return routes
}

// change begins a generation where the daemon does: above all that is published.
func (w *world) change(routes *Routes) {
	g := Generation{Number: w.routing[len(w.routing)-1].Number + 1, Routes: routes}
	for _, log := range w.logs {
		for _, m := range log {
			if g.After.Less(m.Stamp.Position) {
				g.After = m.Stamp.Position
			}
		}
	}
	w.routing = append(w.routing, g)
}

// TestChangedRoutesUnderCrashes: routes change between runs that were cut off anywhere,
// and now and then the slot goes back to where it was, as a crash of the server does.
func TestChangedRoutesUnderCrashes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := draw(t, 2)
		w := newWorld(3, 2)
		told := []uint64{w.confirmed}
		for range rapid.IntRange(1, 8).Draw(t, "crashes") {
			w.drive(t, h, rapid.IntRange(1, 60).Draw(t, "steps"))
			told = append(told, w.confirmed)
			if rapid.IntRange(0, 2).Draw(t, "rewound") == 0 {
				w.confirmed = rapid.SampledFrom(told).Draw(t, "to")
			}
			if rapid.Bool().Draw(t, "changed") {
				w.change(drawRoutes(t))
			}
		}
		w.drive(t, h, -1)
		w.holds(t, h)
	})
}

// TestForgottenRoutes: what was read under routes that nobody knows any more is not
// guessed at.
func TestForgottenRoutes(t *testing.T) {
	t.Parallel()
	w := newWorld(1, 1)
	w.routing[0].After = position.Position{Epoch: 1, LSN: 1000, Index: 0}
	s := w.run()
	row := func(index uint32) *Input {
		return &Input{Kind: Row, Event: Event{Position: position.Position{Epoch: 1, LSN: 1000, Index: index}, AggregateType: []byte("a0"), AggregateID: []byte("k"), Type: []byte("Happened"), Encoding: Avro}}
	}
	begin := &Input{Kind: Begin, Transaction: Transaction{Position: position.Position{Epoch: 1, LSN: 1000}}}
	if err := s.Step(begin); err != nil {
		t.Fatal(err)
	}
	if err := s.Step(row(0)); !errors.Is(err, ErrRoutesChanged) {
		t.Errorf("%v, want ROUTES_CHANGED", err)
	}
	w.routing[0].After = position.Position{Epoch: 1, LSN: 999}
	if s = w.run(); s.Step(begin) != nil || s.Step(row(0)) != nil {
		t.Error("what comes behind is routed")
	}
}

// TestGoneTopic: an event of a topic that was published to, and is not there, is not
// poison: it may have been published.
func TestGoneTopic(t *testing.T) {
	t.Parallel()
	gone := schemas.ErrRegistryUnreachable.New("stands for any of the environment's") // another package's would import this one
	routes, err := NewRoutes(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, parks := range []bool{false, true} {
		cfg := Config{Routes: routes, Start: position.Position{Epoch: 1, LSN: 100}, Gone: map[string]error{"a0": gone}}
		if parks {
			cfg.Topics, cfg.DeadLetters = []Topic{{Name: "dead", Partitions: 1}}, &DeadLetters{Park: true, Limit: 10}
		}
		c := &script{t: t, s: New(cfg), lsn: 100, epoch: 1}
		if err := c.tx("published"); !errors.Is(err, gone) || c.s.Poison() != nil {
			t.Errorf("parks %t: %v, poison %v", parks, err, c.s.Poison())
		}
	}
}
