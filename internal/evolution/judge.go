package evolution

import (
	"slices"
	"strings"
	"time"

	"github.com/runnel-cdc/runnel/schemas"
)

// Direction is who reads whose data.
type Direction string

// The directions. A change of a catalog as a whole has none.
const (
	BackwardDirection Direction = "backward" // the new version reads what older ones wrote
	ForwardDirection  Direction = "forward"  // older versions read what the new one writes
)

// Finding is what is wrong with a change.
type Finding struct {
	schemas.Finding
	Event     string
	Topic     string // local name
	Direction Direction
	Against   []Version // the older versions that it is found against, oldest first
	// Weaker is the level that lets it through, once no consumer reads with the older
	// versions; nil: none does.
	Weaker *Level
	// Required is false for what the event's level does not ask for: it matters only
	// where a consumer reads with one of those versions still.
	Required bool
	// Known: the version before this one had it already.
	Known bool
	// Waived lets it pass.
	Waived *Waiver
	// Readers are the subscriptions it concerns, as far as they were looked at.
	Readers []Reader
}

// Blocks reports whether the finding is in the way of a change.
func (f *Finding) Blocks() bool {
	return f.Required && !f.Known && f.Waived == nil && f.Rule.Severity == schemas.Error
}

// Place is where the catalog's schema has it.
func (f *Finding) Place() schemas.Pos {
	if f.Direction == ForwardDirection {
		return f.Writer
	}
	return f.Reader
}

// Meaning says what breaks for whom.
func (f *Finding) Meaning() string {
	var labels []string
	for _, v := range f.Against {
		labels = append(labels, v.Label)
	}
	against := list(labels)
	switch f.Direction {
	case BackwardDirection:
		return "Consumers built with this schema meet events of " + against + ". " + f.Rule.Breaks
	case ForwardDirection:
		return "Consumers built with " + against + " meet events of this schema. " + f.Rule.Breaks
	}
	return f.Rule.Breaks
}

// WhatToDo says how the change can be made otherwise. Of what older versions cannot read,
// the rule's own fix is no help: those are out already, and are not changed.
func (f *Finding) WhatToDo() string {
	if f.Direction != ForwardDirection || f.Rule == ReaderLeft {
		return f.Fix
	}
	weaker := ""
	if f.Weaker != nil {
		weaker = " Once no consumer reads with the older versions, the level " + f.Weaker.String() + " in catalog.yaml lets it through."
	}
	switch f.Rule.ID {
	case FieldRenamed.ID:
		return f.Fix + weaker
	case "FIELD_WITHOUT_DEFAULT":
		return "Keep the field under its name; mark it as \"deprecated\"." + weaker
	case "ENUM_SYMBOL_UNKNOWN":
		return "Publish no new symbol before its readers know it, or have a default: give the enum a \"default\" now, so that later ones can come." + weaker
	}
	return "Keep it as it was, and add a field of another name beside it." + weaker
}

// list joins words: a; a and b; a, b and c. Long ones are cut.
func list(words []string) string {
	const most = 6
	if n := len(words); n > most {
		words = append(slices.Clone(words[:most-1]), "others")
	}
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// Judge compares the events of a catalog with their history and returns what is found,
// by event. Events that have not changed, and new ones, have no findings; nor have the
// settings, unless they name what is not there. topicOf tells the local name of an
// event's topic. Waivers count on the day of on.
//
// Invariants: what blocks is new, as a finding between two versions that were let
// through once is not judged again; and with nothing that blocks, every datum of every
// version that the level names can be read as it says.
func Judge(c *schemas.Catalog, h History, topicOf func(*schemas.EventType) string, s Settings, on time.Time) []Finding {
	all := s.judgeAll(c, h, topicOf, on)
	return append(all, s.missed(all, on)...)
}

// judgeAll is Judge but for waivers that miss: more findings may come.
func (s Settings) judgeAll(c *schemas.Catalog, h History, topicOf func(*schemas.EventType) string, on time.Time) []Finding {
	var all []Finding
	for _, e := range c.Events() {
		all = append(all, s.judge(e, h, topicOf)...)
	}
	all = append(all, removed(c, h, topicOf)...)
	s.applyWaivers(all, on)
	return append(all, s.idle(c, h, topicOf, on)...)
}

// judge compares one event with its history.
func (s Settings) judge(e *schemas.EventType, h History, topicOf func(*schemas.EventType) string) []Finding {
	last, ok := h.Last(e.Name)
	if !ok {
		return nil
	}
	j := judge{event: e, topic: topicOf(e), level: s.LevelOf(topicOf(e), e.Name), last: last}
	if was := last.Event.AggregateType; was != e.AggregateType {
		j.add("", last, schemas.Finding{
			Rule: EventMoved, Path: "$", Type: e.Name, Reader: e.Schema.Pos, Fix: EventMoved.Fix,
			Message: "the aggregate type was " + was + " and is " + e.AggregateType,
		}, true, false)
	}
	if last.Event.Fingerprint == e.Fingerprint {
		return j.findings
	}
	for i, v := range h[e.Name] {
		if v.Event.Fingerprint != e.Fingerprint {
			j.compare(v, j.level.Transitive() || i == len(h[e.Name])-1)
		}
	}
	j.weaken()
	return j.findings
}

// weaken notes which level would let the forward findings through: one that asks less of
// older readers, unless new ones could not read what is there either.
func (j *judge) weaken() {
	weaker := j.level.weaker()
	if weaker.Backward() && slices.ContainsFunc(j.findings, func(f Finding) bool { return f.Direction != ForwardDirection && f.Blocks() }) {
		return
	}
	for i := range j.findings {
		if f := &j.findings[i]; f.Direction == ForwardDirection && f.Blocks() {
			f.Weaker = &weaker
		}
	}
}

// judge is the judgement of one event.
type judge struct {
	event    *schemas.EventType
	topic    string
	level    Level
	last     Version
	findings []Finding
}

// compare looks both ways at an older version; counts is whether the level names it.
func (j *judge) compare(v Version, counts bool) {
	now, was := j.event.Schema, v.Event.Schema
	var backward, forward map[[3]string]bool // known before
	if v.Event.Fingerprint != j.last.Event.Fingerprint {
		backward = keys(schemas.Compatibility(j.last.Event.Schema, was))
		forward = keys(schemas.Compatibility(was, j.last.Event.Schema))
	}
	for _, f := range schemas.Compatibility(now, was) {
		j.add(BackwardDirection, v, f, counts && j.level.Backward(), backward[key(f)])
	}
	for _, f := range schemas.Compatibility(was, now) {
		j.add(ForwardDirection, v, f, counts && j.level.Forward(), forward[key(f)])
	}
	// What an older version has and the last one has not was given up, not renamed.
	last := keys(renamed(j.last.Event.Schema, now))
	for _, f := range renamed(was, now) {
		if last[key(f)] {
			j.add(ForwardDirection, v, f, counts && j.level.Forward(), false)
		}
	}
}

// key is what makes two findings the same one: what is said names the symbols or the
// branches, of which there may be more than before.
func key(f schemas.Finding) [3]string { return [3]string{f.Rule.ID, f.Path, f.Message} }

func keys(findings []schemas.Finding) map[[3]string]bool {
	all := make(map[[3]string]bool, len(findings))
	for _, f := range findings {
		all[key(f)] = true
	}
	return all
}

// add notes a finding, together with the same one against other versions.
func (j *judge) add(d Direction, v Version, f schemas.Finding, required, known bool) {
	for i := range j.findings {
		o := &j.findings[i]
		if o.Direction == d && key(o.Finding) == key(f) && o.Required == required && o.Known == known {
			o.Against = append(o.Against, v)
			return
		}
	}
	j.findings = append(j.findings, Finding{Finding: f, Event: j.event.Name, Topic: j.topic, Direction: d, Against: []Version{v}, Required: required, Known: known})
}

// removed finds the events that the catalog has no more.
func removed(c *schemas.Catalog, h History, topicOf func(*schemas.EventType) string) []Finding {
	var all []Finding
	for name, versions := range h {
		if _, ok := c.Event(name); ok {
			continue
		}
		last := versions[len(versions)-1]
		if _, deprecated := last.Event.Schema.Deprecated(); deprecated || last.Retired {
			continue
		}
		all = append(all, Finding{Event: name, Topic: topicOf(last.Event), Against: []Version{last}, Required: true, Finding: schemas.Finding{
			Rule: EventRemoved, Path: "$", Type: name,
			Message: "it is in " + last.Label + ", not deprecated, and the catalog does not have it", Fix: EventRemoved.Fix,
		}})
	}
	slices.SortFunc(all, func(a, b Finding) int { return strings.Compare(a.Event, b.Event) })
	return all
}
