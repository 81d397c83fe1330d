package deadletter

import (
	"fmt"
	"slices"

	"github.com/runnel-cdc/runnel/internal/position"
)

// Log is what the messages of a dead-letter topic add up to: the events that are parked.
// The zero value is empty.
type Log struct {
	keys  map[Key][]Entry // in the order of their ranks; none is empty
	n     int
	lows  Summary // Floor and Since alone
	stale bool    // lows must be looked up again
}

// Add takes the topic's next message. It returns the release, if it is one.
func (l *Log) Add(at position.Position, payload []byte, properties map[string]string) (*Release, error) {
	switch kind := properties[propertyType]; kind {
	case EventParked:
		e, err := ParseEntry(at, properties)
		if err == nil {
			l.Park(e)
		}
		return nil, err
	case EventReleased:
		r, err := ParseRelease(payload)
		if err != nil {
			return nil, err
		}
		entries, err := r.Entries()
		for _, e := range entries {
			l.Release(e.Key, Ref{e.ID, e.Position})
		}
		return &r, err
	default:
		return nil, fmt.Errorf("a message of type %.80q", kind)
	}
}

// Park adds an event.
func (l *Log) Park(e Entry) {
	if l.keys == nil {
		l.keys = make(map[Key][]Entry)
	}
	all := l.keys[e.Key]
	i := len(all)
	for i > 0 && e.Rank.Less(all[i-1].Rank) {
		i--
	}
	l.keys[e.Key] = slices.Insert(all, i, e)
	if l.n == 0 || e.Position.Less(l.lows.Floor) {
		l.lows.Floor = e.Position
	}
	if l.n == 0 || e.Committed < l.lows.Since {
		l.lows.Since = e.Committed
	}
	l.n++
}

// Release removes an event; false when it is not parked.
func (l *Log) Release(key Key, ref Ref) (Entry, bool) {
	all := l.keys[key]
	i := slices.IndexFunc(all, func(e Entry) bool { return e.Position == ref.Position && e.ID == ref.ID })
	if i < 0 {
		return Entry{}, false
	}
	e := all[i]
	l.n--
	l.stale = l.stale || e.Position == l.lows.Floor || e.Committed == l.lows.Since
	if all = slices.Delete(all, i, i+1); len(all) == 0 {
		delete(l.keys, key)
	} else {
		l.keys[key] = all
	}
	return e, true
}

// Blocks reports whether an event of an aggregate with a lower rank is parked.
func (l *Log) Blocks(key Key, rank position.Position) bool {
	all := l.keys[key]
	return len(all) > 0 && all[0].Rank.Less(rank)
}

// Len returns how many events are parked.
func (l *Log) Len() int { return l.n }

// Keys returns of how many aggregates.
func (l *Log) Keys() int { return len(l.keys) }

// Of returns an aggregate's parked events in the order of their ranks. The caller keeps
// them as they are.
func (l *Log) Of(key Key) []Entry { return l.keys[key] }

// All returns the parked events in the order of their positions.
func (l *Log) All() []Entry {
	all := make([]Entry, 0, l.n)
	for _, entries := range l.keys {
		all = append(all, entries...)
	}
	slices.SortFunc(all, func(a, b Entry) int { return a.Position.Compare(b.Position) })
	return all
}

// Summary says how many events are parked, of how many aggregates, the lowest of their
// positions, and when the first of them was committed, in microseconds since 1970.
type Summary struct {
	Events, Aggregates int
	Floor              position.Position
	Since              int64
}

// Summary adds the log up.
func (l *Log) Summary() Summary {
	if l.stale {
		l.look()
	}
	return Summary{Events: l.n, Aggregates: len(l.keys), Floor: l.lows.Floor, Since: l.lows.Since}
}

// look looks the lowest of everything up. A log of nothing has none.
func (l *Log) look() {
	l.lows, l.stale = Summary{}, false
	first := true
	for _, entries := range l.keys {
		for i := range entries {
			e := &entries[i]
			if first || e.Position.Less(l.lows.Floor) {
				l.lows.Floor = e.Position
			}
			if first || e.Committed < l.lows.Since {
				l.lows.Since = e.Committed
			}
			first = false
		}
	}
}
