package router

import (
	"fmt"
	"maps"
	"slices"

	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/position"
)

// confirm moves the slot: everything below what it is told is stored somewhere.
func (w *parkingWorld) confirm(s *State) {
	if s.Confirmed() < w.confirmed {
		w.t.Fatalf("the confirmation went back from %d to %d", w.confirmed, s.Confirmed())
	}
	if w.confirmed = s.Confirmed(); w.confirmed == 0 {
		return
	}
	ids := map[string]bool{}
	positions := map[position.Position]bool{}
	for name, log := range w.logs {
		for _, m := range log {
			positions[m.Stamp.Position] = true
			if name != deadTopic {
				ids[string(m.Payload)] = true
			}
		}
	}
	released := w.released()
	for _, tx := range w.txs {
		for _, in := range tx.inputs {
			if tx.begin >= w.confirmed {
				return
			}
			switch {
			case in.Kind == ControlRecord && !positions[in.Control.Position]:
				w.t.Fatalf("confirmed %d, but the release at %s is not stored", w.confirmed, in.Control.Position)
			case in.Kind == Row && !positions[in.Event.Position] && !ids[string(in.Event.Payload)] && !released[in.Event.ID]:
				w.t.Fatalf("confirmed %d, but %s is not stored", w.confirmed, in.Event.Position)
			}
		}
	}
}

// released returns the ids that releases name: a row may be dropped for them.
func (w *parkingWorld) released() map[[16]byte]bool {
	ids := map[[16]byte]bool{}
	for _, m := range w.logs[deadTopic] {
		if m.Type == deadletter.EventReleased {
			r, _ := deadletter.ParseRelease(m.Payload)
			entries, _ := r.Entries()
			for _, e := range entries {
				ids[e.ID] = true
			}
		}
	}
	return ids
}

// judge requires that each event is published once, or parked, or was discarded, and that
// the events of an aggregate are published in the order in which they were first written.
func (w *parkingWorld) judge() {
	parked := map[[16]byte]bool{}
	for _, e := range w.letters(w.logs[deadTopic]).All() {
		parked[e.ID] = true
	}
	discarded := map[[16]byte]bool{}
	for name, log := range w.logs {
		for i, m := range log {
			if m.Stamp.Ordinal != uint64(i+1) || i > 0 && !log[i-1].Stamp.Less(m.Stamp.Position) {
				w.t.Fatalf("%s[%d] is %s", name, i, m.Stamp)
			}
			if name != deadTopic || m.Type != deadletter.EventReleased {
				continue
			}
			r, _ := deadletter.ParseRelease(m.Payload)
			entries, _ := r.Entries()
			for _, e := range entries {
				if r.Discard {
					discarded[e.ID] = true
				}
			}
		}
	}
	count := map[string]int{}
	last := map[string]position.Position{}
	var every []Send
	for _, name := range slices.Sorted(maps.Keys(w.logs)) {
		if name != deadTopic {
			every = append(every, w.logs[name]...)
		}
	}
	slices.SortFunc(every, func(a, b Send) int { return a.Stamp.Position.Compare(b.Stamp.Position) })
	{
		for _, m := range every {
			payload := string(m.Payload)
			count[payload]++
			if key := w.keys[payload]; w.first[payload].Less(last[key]) {
				w.t.Fatalf("%s of %s is published after %s", payload, key, last[key])
			} else {
				last[key] = w.first[payload]
			}
		}
	}
	for i := 1; i <= w.made; i++ {
		payload, id := fmt.Sprint(i), [16]byte{byte(i), byte(i >> 8), 1}
		n := count[payload]
		if parked[id] {
			n++
		}
		if n == 0 && discarded[id] {
			n++
		}
		if n != 1 {
			w.t.Fatalf("event %s of %s: %d times published, parked %v, discarded %v", payload, w.keys[payload], count[payload], parked[id], discarded[id])
		}
	}
	if w.confirmed != w.end() {
		w.t.Fatalf("confirmed %d, want %d", w.confirmed, w.end())
	}
}
