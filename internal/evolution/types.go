package evolution

import (
	"fmt"
	"slices"

	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// withdrawal is an event type that is taken out of a topic.
type withdrawal struct {
	topic, event string
	to           string // the topic it goes to from now on; "": the catalog has it no more
}

// withdrawn returns the event types that the topics hold and that go there no more, as
// the catalog has them no more or their route is another: those that are not retired
// yet, and those that writers may publish still, as the withdrawal was cut off. Types
// that no topic here holds are another pipeline's.
func (s *State) withdrawn(c *schemas.Catalog) []withdrawal {
	var all []withdrawal
	for i := range s.Topics {
		t := &s.Topics[i]
		newest := t.newest()
		if newest == nil {
			continue
		}
		for _, b := range newest.Events() {
			e, ok := c.Event(b.Name)
			retired := slices.Contains(newest.Retired(), b.Name)
			switch {
			case !ok && (!retired || s.mayPublish(b.Name)):
				all = append(all, withdrawal{topic: t.Name, event: b.Name})
			case ok && !retired && s.Target.topicOf(e) != t.Name:
				all = append(all, withdrawal{t.Name, b.Name, s.Target.topicOf(e)})
			}
		}
	}
	return all
}

func (s *State) mayPublish(name string) bool {
	return slices.ContainsFunc(s.Types, func(t outbox.RegisteredType) bool { return t.Name == name })
}

// held reports whether a topic's newest schema has an event.
func (s *State) held(name string) bool {
	return slices.ContainsFunc(s.Topics, func(t Topic) bool {
		_, ok := event(t.newest(), name)
		return ok
	})
}

// rerouted finds the events that go to another topic than before, though their aggregate
// type is the same.
func rerouted(c *schemas.Catalog, withdrawn []withdrawal, h History) []Finding {
	var all []Finding
	for _, w := range withdrawn {
		e, ok := c.Event(w.event)
		last, _ := h.Last(w.event)
		if !ok || last.Event.AggregateType != e.AggregateType {
			continue // Judge finds it
		}
		all = append(all, Finding{Event: w.event, Topic: w.topic, Against: []Version{last}, Required: true, Finding: schemas.Finding{
			Rule: EventRerouted, Path: "$", Type: w.event, Reader: e.Schema.Pos, Fix: EventRerouted.Fix,
			Message: "it went to the topic " + w.topic + " and goes to " + w.to,
		}})
	}
	return all
}

// needed finds who still needs an event where it is taken out.
func (s *State) needed(withdrawn []withdrawal, h History) []Finding {
	var all []Finding
	for _, w := range withdrawn {
		last, _ := h.Last(w.event) // a topic holds it
		what, fix := "it is taken out", EventNeeded.Fix
		if w.to != "" {
			what = "it goes to the topic " + w.to + " from now on"
			fix = "Let the consumer read both topics, and say in catalog.yaml, with a waiver that names it as the consumer, that it does; or leave the route as it was."
		}
		for _, r := range s.Readers() {
			if r.Topic != w.topic || !r.needs(w.event) {
				continue
			}
			all = append(all, Finding{Event: w.event, Topic: w.topic, Against: []Version{last}, Required: true, Readers: []Reader{r}, Finding: schemas.Finding{
				Rule: EventNeeded, Path: "$", Type: w.event, Fix: fix,
				Message: fmt.Sprintf("%s, and %s may need it", what, r),
			}})
		}
	}
	return all
}

// types plans the rows of runnel.event_type.
func (p *Plan) types(c *schemas.Catalog, s *State, withdrawn []withdrawal) {
	if !s.Asked {
		p.Notes = append(p.Notes, "The source database was not asked which event types writers may publish.")
		return
	}
	const table = "runnel.event_type"
	var add, drop []Type
	for _, e := range c.Events() {
		if !slices.ContainsFunc(s.Types, func(t outbox.RegisteredType) bool { return t.Name == e.Name && t.Fingerprint == e.Fingerprint }) {
			add = append(add, Type{e.Name, e.AggregateType, e.Fingerprint.String()})
		}
	}
	for _, t := range s.Types {
		_, ours := c.Event(t.Name)
		switch {
		case !ours && slices.ContainsFunc(withdrawn, func(w withdrawal) bool { return w.event == t.Name }):
			drop = append(drop, Type{t.Name, t.AggregateType, t.Fingerprint.String()})
		case !ours && !s.held(t.Name):
			p.Notes = append(p.Notes, t.Name+" may be published, and neither the catalog nor a topic of this namespace has it: it is left alone.")
		}
	}
	for _, step := range []Step{{Kind: RegisterTypes, From: "absent", To: "present", Types: add}, {Kind: WithdrawTypes, From: "present", To: "absent", Types: drop}} {
		if len(step.Types) == 0 {
			continue
		}
		step.Object = table
		for _, t := range step.Types {
			step.Changes = append(step.Changes, fmt.Sprintf("%s of %s, %.12s", t.Name, t.AggregateType, t.Fingerprint))
		}
		p.Steps = append(p.Steps, step)
	}
}
