package evolution

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/runnel-cdc/runnel/internal/catalogfile"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/nearest"
	"github.com/runnel-cdc/runnel/schemas"
)

// Settings is what a catalog says of its evolution beside the schemas.
type Settings struct {
	Level  Level            // of all events
	Topics map[string]Level // by local name: of the events of a topic
	Events map[string]Level // by name: before those
	// Named are the topics that the catalog's file has an entry for, with its place.
	Named map[string]schemas.Pos
	Waive []Waiver
}

// Waiver lets a finding pass.
type Waiver struct {
	Event string // its name
	Rule  string // of the finding
	// Path is where the finding is; "": anywhere in the event.
	Path string
	// Consumer, if any, is the subscription that the waiver speaks for: it can take the
	// change, though that cannot be seen. Without it a waiver speaks for all.
	Consumer      string
	Reason, Owner string
	Expires       time.Time // the first day on which it does not count
	Pos           schemas.Pos
}

// SettingsOf reads what a catalog's file says of its evolution. The error joins one
// *fault.Error for each level or rule that there is not, and for an event that the
// catalog does not have: a waiver may name one that was taken out.
func SettingsOf(f catalogfile.File, c *schemas.Catalog) (Settings, error) {
	s := Settings{Topics: make(map[string]Level), Events: make(map[string]Level), Named: make(map[string]schemas.Pos)}
	var errs []error
	level := func(into func(Level), from catalogfile.Level) {
		if from.Name == "" {
			return
		}
		l, err := ParseLevel(from.Name)
		if err != nil {
			errs = append(errs, catalogfile.ErrValue.New("%s", err).At("%s", from.Pos))
			return
		}
		into(l)
	}
	level(func(l Level) { s.Level = l }, f.Compatibility)
	for _, name := range slices.Sorted(maps.Keys(f.Topics)) {
		level(func(l Level) { s.Topics[name] = l }, f.Topics[name].Compatibility)
		s.Named[name] = f.Topics[name].Pos
	}
	for _, name := range slices.Sorted(maps.Keys(f.Events)) {
		level(func(l Level) { s.Events[name] = l }, f.Events[name].Compatibility)
		if _, ok := c.Event(name); !ok {
			errs = append(errs, unknown("event", name, eventNames(c)).At("%s", f.Events[name].Pos))
		}
	}
	for _, w := range f.Waivers {
		if !slices.Contains(ruleIDs(), w.Rule) {
			errs = append(errs, unknown("rule", w.Rule, ruleIDs()).At("%s", w.Pos))
		}
		if w.Consumer != "" && w.Rule != ReaderLeft.ID && w.Rule != EventNeeded.ID {
			errs = append(errs, catalogfile.ErrValue.New("a waiver of %s is for all: it has no consumer", w.Rule).At("%s", w.Pos).
				Fix("Leave consumer out. One consumer is spoken for with %s, or with %s.", ReaderLeft.ID, EventNeeded.ID))
		}
		s.Waive = append(s.Waive, Waiver{w.Event, w.Rule, w.Path, w.Consumer, w.Reason, w.Owner, w.Expires, w.Pos})
	}
	return s, errors.Join(errs...)
}

func unknown(what, name string, known []string) *fault.Error {
	e := catalogfile.ErrValue.New("there is no %s %q", what, name)
	if near := nearest.Of(name, known); near != "" {
		return e.Fix("Did you mean %s?", near)
	}
	return e
}

func eventNames(c *schemas.Catalog) []string {
	var names []string
	for _, e := range c.Events() {
		names = append(names, e.Name)
	}
	return names
}

// ruleIDs are the rules that a waiver may name.
func ruleIDs() []string {
	var ids []string
	for _, r := range slices.Concat(schemas.CompatRules, Rules) {
		ids = append(ids, r.ID)
	}
	return ids
}

// Owner returns who is asked about an event: as the file says of the event, of its topic,
// or the schema's property "owner"; "" when nobody is named.
func Owner(f catalogfile.File, topic string, e *schemas.EventType) string {
	if owner := f.Events[e.Name].Owner; owner != "" {
		return owner
	}
	if owner := f.Topics[topic].Owner; owner != "" {
		return owner
	}
	var owner string
	_ = json.Unmarshal(e.Schema.Props["owner"], &owner) // a property of another kind names nobody
	return owner
}

// LevelOf returns the level of an event that goes to a topic.
func (s Settings) LevelOf(topic, event string) Level {
	if l, ok := s.Events[event]; ok {
		return l
	}
	if l, ok := s.Topics[topic]; ok {
		return l
	}
	return s.Level
}

// waiver returns the index of one that lets a finding pass on a day, or -1.
func (s Settings) waiver(on time.Time, event, rule, path, consumer string) int {
	for i, w := range s.Waive {
		if w.Event == event && w.Rule == rule && (w.Path == "" || w.Path == path) && (w.Consumer == "" || w.Consumer == consumer) && on.Before(w.Expires) {
			return i
		}
	}
	return -1
}

// applyWaivers notes which findings are waived: for all, or for the one reader that a
// finding is about.
func (s Settings) applyWaivers(findings []Finding, on time.Time) {
	for i := range findings {
		f := &findings[i]
		consumer := ""
		if f.NamesReader() {
			consumer = f.Readers[0].Subscription
		}
		w := s.waiver(on, f.Event, f.Rule.ID, f.Path, consumer)
		for _, path := range f.Also { // of the same type elsewhere
			if s.waiver(on, f.Event, f.Rule.ID, path, consumer) < 0 {
				w = -1
			}
		}
		if w >= 0 {
			f.Waived = &s.Waive[w]
		}
	}
}
