package evolution

import (
	"fmt"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// Difference is one thing in which the state is not what the catalog says.
type Difference struct {
	Object  string `json:"object"`  // a namespace, a topic, an event of a topic, a registered type
	Catalog string `json:"catalog"` // as the catalog, or the configuration, has it
	Live    string `json:"live"`    // as it is
	Fix     string `json:"fix"`
}

func counted(events int) string {
	if events == 1 {
		return "an event"
	}
	return fmt.Sprintf("%d events", events)
}

// literal makes a text one of SQL, between quotes.
var literal = strings.NewReplacer("'", "''")

const (
	fixApply   = "Run `runnel schemas plan`, then `runnel schemas apply`."
	fixCatalog = "Somebody applied a newer catalog: take that one. Or go back to this one: `runnel schemas plan`, then `runnel schemas apply`."
)

// Drift compares a state with a catalog, both ways.
func Drift(c *schemas.Catalog, s *State) []Difference {
	var all []Difference
	for _, d := range s.Deviations {
		all = append(all, Difference{"namespace " + s.Target.Namespace + ": " + d.Policy, d.Want, d.Have, fixApply})
	}
	if !slices.ContainsFunc(s.Deviations, broker.Deviation.Missing) {
		for i := range s.Topics {
			all = append(all, s.Topics[i].drift(c, s)...)
		}
	}
	if s.Asked {
		all = append(all, s.driftOfTypes(c)...)
	}
	return all
}

func (t *Topic) drift(c *schemas.Catalog, s *State) []Difference {
	var events []*schemas.EventType
	for _, e := range c.Events() {
		if s.Target.topicOf(e) == t.Name {
			events = append(events, e)
		}
	}
	newest := t.newest()
	what, own := s.Target.own(t.Name)
	switch {
	case own && t.Exists:
		return nil
	case own:
		return []Difference{{"topic " + t.Name, what, "missing", fixApply}}
	case !t.Exists && len(events) > 0:
		return []Difference{{"topic " + t.Name, counted(len(events)), "missing", fixApply}}
	case !t.Exists:
		return nil
	case t.Foreign != nil:
		return []Difference{{"topic " + t.Name, "a schema of Runnel's", clipped(t.Foreign), "Give Runnel a namespace of its own; or delete the topic."}}
	case t.Partitions == 0:
		return []Difference{{"topic " + t.Name, "partitioned", "not partitioned", "Delete the topic, or route the events to another one."}}
	case len(events) == 0 && newest == nil:
		return []Difference{{"topic " + t.Name, "absent", "there, without a schema", "Delete it if nobody uses it."}}
	}
	all := t.driftOfSchema(s)
	for _, e := range events {
		if d, ok := t.driftOf(e); ok {
			all = append(all, d)
		}
	}
	if newest == nil {
		return all
	}
	for _, b := range newest.Events() {
		e, ok := c.Event(b.Name)
		object, live := t.Name+": "+b.Name, fmt.Sprintf("in version %d", newest.Version)
		switch {
		case slices.Contains(newest.Retired(), b.Name):
		case !ok:
			all = append(all, Difference{object, "absent", live, "Put it into the catalog; or take it out: mark it as deprecated, apply, remove it, apply."})
		case s.Target.topicOf(e) != t.Name:
			all = append(all, Difference{object, "goes to the topic " + s.Target.topicOf(e), live, fixApply})
		}
	}
	return all
}

// driftOfSchema finds what others have done to a topic.
func (t *Topic) driftOfSchema(s *State) []Difference {
	var all []Difference
	if n := s.Published[t.Full]; n > 0 && n != t.Partitions {
		d := Difference{"topic " + t.Name, fmt.Sprintf("%d partitions, as it was published to", n), fmt.Sprintf("%d partitions", t.Partitions),
			"Nothing needs to be done: those that were added stay empty, so that the events of an aggregate keep their order."}
		if t.Partitions < n {
			d.Fix = "It was deleted and made anew: find out by whom, and whether its events are kept anywhere. The daemon does not publish to it."
		}
		all = append(all, d)
	}
	for _, o := range t.Others {
		all = append(all, Difference{fmt.Sprintf("topic %s: schema version %d", t.Name, o.Version), "absent", clipped(o.Err),
			"Nothing needs to be done: it is passed over. Find out who may register schemas (docs/security.md)."})
	}
	if len(t.Versions) == 0 {
		return all
	}
	first := t.Versions[0].Version
	if len(t.Others) > 0 {
		first = min(first, t.Others[0].Version)
	}
	if first > 0 {
		all = append(all, Difference{fmt.Sprintf("topic %s: schema versions below %d", t.Name, first), "there", "deleted",
			"What was published under them cannot be decoded by the registry any more, and they cannot be registered again. Find out who may delete schemas (docs/security.md)."})
	}
	return all
}

// driftOf compares one event with the newest version of its topic's schema.
func (t *Topic) driftOf(e *schemas.EventType) (Difference, bool) {
	newest := t.newest()
	live, ok := event(newest, e.Name)
	object := t.Name + ": " + e.Name
	switch {
	case !ok:
		return Difference{object, e.Fingerprint.String()[:12], "not registered", fixApply}, true
	case slices.Contains(newest.Retired(), e.Name):
		return Difference{object, e.Fingerprint.String()[:12], fmt.Sprintf("retired in version %d", newest.Version), fixApply}, true
	case live.Fingerprint == e.Fingerprint:
		return Difference{}, false
	}
	d := Difference{object, e.Fingerprint.String()[:12], fmt.Sprintf("%s in version %d", live.Fingerprint.String()[:12], newest.Version), fixApply}
	for _, v := range t.Versions {
		if old, ok := v.Event(e.Name); ok && old.Fingerprint == e.Fingerprint {
			d.Catalog += fmt.Sprintf(", as version %d", v.Version)
			d.Fix = fixCatalog
		}
	}
	return d, true
}

// driftOfTypes compares what writers may publish with the catalog.
func (s *State) driftOfTypes(c *schemas.Catalog) []Difference {
	var all []Difference
	for _, e := range c.Events() {
		known, live := false, "absent: writers are refused"
		for _, t := range s.Types {
			known = known || t.Name == e.Name && t.Fingerprint == e.Fingerprint
			if t.Name == e.Name && t.AggregateType == e.AggregateType {
				live = "another version: writers that were built with this one are refused"
			}
		}
		if !known {
			all = append(all, Difference{"runnel.event_type: " + e.Name, e.Fingerprint.String()[:12], live, fixApply})
		}
	}
	var gone []string
	for _, t := range s.Types {
		switch e, ok := c.Event(t.Name); {
		case !ok:
			gone = append(gone, t.Name)
		case e.AggregateType != t.AggregateType:
			all = append(all, Difference{"runnel.event_type: " + t.Name, "of " + e.AggregateType, "writers may publish it for " + t.AggregateType,
				fmt.Sprintf("Once no service does, as the owner: delete from runnel.event_type where name = '%s' and aggregate_type = '%s'.", literal.Replace(t.Name), literal.Replace(t.AggregateType))})
		case t.Fingerprint != e.Fingerprint && !s.registers(t):
			all = append(all, Difference{"runnel.event_type: " + t.Name, "absent", "writers may publish it as " + t.Fingerprint.String()[:12] + ", which no topic's schema holds",
				fmt.Sprintf("Find out who wrote the row, and as the owner: delete from runnel.event_type where name = '%s' and fingerprint = '\\x%s'.", literal.Replace(t.Name), t.Fingerprint)})
		}
	}
	slices.Sort(gone)
	for _, name := range slices.Compact(gone) {
		fix := fixApply
		if !s.held(name) {
			fix = "No topic of this namespace has it: another pipeline of the database may. A plan leaves it alone."
		}
		all = append(all, Difference{"runnel.event_type: " + name, "absent", "writers may publish it", fix})
	}
	return all
}

// registers reports whether some version of a topic's schema holds a type.
func (s *State) registers(r outbox.RegisteredType) bool {
	return slices.ContainsFunc(s.Topics, func(t Topic) bool {
		return slices.ContainsFunc(t.Versions, func(v *schemas.TopicSchema) bool {
			held, ok := v.Event(r.Name)
			return ok && held.Fingerprint == r.Fingerprint
		})
	})
}

// clipped is an error as a few words.
func clipped(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n")
	const most = 200
	if len(text) > most {
		text = text[:most] + "..."
	}
	return text
}
