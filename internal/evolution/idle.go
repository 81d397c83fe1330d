package evolution

import (
	"maps"
	"slices"
	"time"

	"github.com/runnel-cdc/runnel/internal/nearest"
	"github.com/runnel-cdc/runnel/schemas"
)

// missed finds waivers that let nothing pass although a finding of their event and rule
// is in the way: the path, or the consumer, is another one.
func (s Settings) missed(findings []Finding, on time.Time) []Finding {
	var all []Finding
	for i, w := range s.Waive {
		used := slices.ContainsFunc(findings, func(f Finding) bool { return f.Waived == &s.Waive[i] })
		if used || !on.Before(w.Expires) {
			continue
		}
		for j := range findings {
			f := &findings[j]
			if f.Event != w.Event || f.Rule.ID != w.Rule || !f.Blocks() {
				continue
			}
			where := "at " + f.Path
			if w.Consumer != "" && len(f.Readers) > 0 {
				where += ", of " + f.Readers[0].Subscription
			}
			all = append(all, Finding{Event: w.Event, Required: true, Finding: schemas.Finding{
				Rule: WaiverMisses, Path: "$", Type: w.Event, Reader: w.Pos, Fix: WaiverMisses.Fix,
				Message: "the waiver of " + w.Rule + " lets nothing pass: a finding is " + where,
			}})
			break
		}
	}
	return all
}

// idle finds what the settings say without effect: of topics that no event goes to, of
// events that there are not, and waivers whose day has come. A waiver that lets nothing
// pass just now is none of it: what it let pass is judged no more once it is registered.
func (s Settings) idle(c *schemas.Catalog, h History, topicOf func(*schemas.EventType) string, on time.Time) []Finding {
	topics, events := make(map[string]bool), make(map[string]bool)
	for _, e := range c.Events() {
		topics[topicOf(e)], events[e.Name] = true, true
	}
	for name, versions := range h {
		events[name] = true
		for _, v := range versions {
			topics[topicOf(v.Event)] = true
		}
	}
	var all []Finding
	add := func(rule *schemas.Rule, subject string, at schemas.Pos, message, fix string) {
		all = append(all, Finding{Event: subject, Required: true, Finding: schemas.Finding{
			Rule: rule, Path: "$", Type: subject, Reader: at, Message: message, Fix: fix,
		}})
	}
	unknown := func(what, name string, known map[string]bool, at schemas.Pos) {
		fix := NameUnknown.Fix
		if near := nearest.Of(name, slices.Sorted(maps.Keys(known))); near != "" {
			fix = "Did you mean " + near + "?"
		}
		add(NameUnknown, name, at, what, fix)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Named)) {
		if !topics[name] {
			unknown("no event goes to a topic of this name", name, topics, s.Named[name])
		}
	}
	for _, w := range s.Waive {
		if !on.Before(w.Expires) {
			add(WaiverExpired, w.Event, w.Pos, "the waiver of "+w.Rule+" expired on "+w.Expires.Format(time.DateOnly), WaiverExpired.Fix)
		}
		if !events[w.Event] {
			unknown("the waiver of "+w.Rule+" is of an event that there is not", w.Event, events, w.Pos)
		}
	}
	return all
}
