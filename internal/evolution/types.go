package evolution

import (
	"fmt"
	"slices"

	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// withdrawn returns the event types that the topics hold and the catalog has no more:
// those that are not retired yet, and those that writers may publish still, as the
// withdrawal was cut off. Types that no topic here holds are another pipeline's.
func (s *State) withdrawn(c *schemas.Catalog) []string {
	var names []string
	for i := range s.Topics {
		newest := s.Topics[i].newest()
		if newest == nil {
			continue
		}
		for _, b := range newest.Events() {
			_, ok := c.Event(b.Name)
			if !ok && (!slices.Contains(newest.Retired(), b.Name) || s.mayPublish(b.Name)) {
				names = append(names, b.Name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
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

// needed finds who still needs an event that is taken out.
func (s *State) needed(withdrawn []string, h History) []Finding {
	var all []Finding
	for _, name := range withdrawn {
		last, ok := h.Last(name)
		if !ok {
			continue // it was never published
		}
		topic := s.Target.topicOf(last.Event)
		for _, r := range s.Readers() {
			if r.Topic != topic || !r.needs(name) {
				continue
			}
			all = append(all, Finding{Event: name, Topic: topic, Against: []Version{last}, Required: true, Readers: []Reader{r}, Finding: schemas.Finding{
				Rule: EventNeeded, Path: "$", Type: name, Fix: EventNeeded.Fix,
				Message: fmt.Sprintf("%s is taken out, and %s may need it", name, r),
			}})
		}
	}
	return all
}

// types plans the rows of runnel.event_type.
func (p *Plan) types(c *schemas.Catalog, s *State, withdrawn []string) {
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
		case slices.Contains(withdrawn, t.Name):
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
