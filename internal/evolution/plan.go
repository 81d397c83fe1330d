package evolution

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/schemas"
)

// Kind is what a step does.
type Kind string

// The kinds, in the order in which they are carried out: what publishes needs comes
// before what lets writers publish.
const (
	KeepTopic     Kind = "topic.keep"      // for ever, whatever the namespace's retention
	SetPolicy     Kind = "policy.set"      // of the namespace, or creates it
	CreateTopic   Kind = "topic.create"    // partitioned
	Register      Kind = "schema.register" // the next version of a topic's schema
	RegisterTypes Kind = "types.register"  // rows of runnel.event_type
	WithdrawTypes Kind = "types.withdraw"  // so that writers are refused
)

// Step is one change of a plan. From and To are for people; with Kind, Object and the
// rest they are also what a plan's hash is made of.
type Step struct {
	Kind   Kind   `json:"kind"`
	Object string `json:"object"` // a namespace, a topic's full name, a table
	Policy string `json:"policy,omitempty"`
	From   string `json:"from"`
	To     string `json:"to"`
	// Changes tell what is different, a line each.
	Changes []string `json:"changes,omitempty"`
	// Fields are what is different in an event, by its line of Changes.
	Fields map[string][]Change `json:"fields,omitempty"`
	// Partitions is of a topic that is created.
	Partitions int `json:"partitions,omitempty"`
	// Schema is the text to register, Version what the registry will answer.
	Schema  string `json:"schema,omitempty"`
	Version int64  `json:"version,omitempty"`
	// Types are the rows.
	Types []Type `json:"types,omitempty"`
}

// Type is a row of runnel.event_type.
type Type struct {
	Name          string `json:"name"`
	AggregateType string `json:"aggregate_type"`
	Fingerprint   string `json:"fingerprint"`
}

// identity is what makes two steps the same change, whatever they start from.
func (s Step) identity() string {
	if s.Kind != SetPolicy {
		return s.hashed()
	}
	s.From = "" // what a namespace begins with is not known before it is there
	return s.hashed()
}

func (s Step) hashed() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic("evolution: a step is no JSON: " + err.Error()) // it holds strings and numbers
	}
	return string(text)
}

// Plan is what makes a state that of a catalog.
type Plan struct {
	Steps []Step
	// Findings are what the change is judged to do; see Blocked.
	Findings []Finding
	// Affected are the readers of the topics whose schemas change.
	Affected []Reader
	// Notes are what a person should know, a sentence each.
	Notes []string

	namespace string
	// carried are events that are not the catalog's to change here, and change all the
	// same with a type that they share.
	carried []*schemas.EventType
}

// Hash names the plan: the steps, with the state they start from. "" is the plan
// without a step.
func (p *Plan) Hash() string {
	if len(p.Steps) == 0 {
		return ""
	}
	sum := sha256.New()
	sum.Write([]byte("runnel plan 1 " + p.namespace + "\n"))
	for _, s := range p.Steps {
		sum.Write([]byte(s.hashed() + "\n"))
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// Blocked returns the findings that are in the plan's way.
func (p *Plan) Blocked() []Finding {
	return slices.DeleteFunc(slices.Clone(p.Findings), func(f Finding) bool { return !f.Blocks() })
}

// Mode says what a plan may do.
type Mode int

// The modes.
const (
	// Whole makes the state that of the catalog: a version that was registered before
	// becomes the newest again, and types that the catalog has no more are withdrawn.
	Whole Mode = iota
	// Additions adds what the catalog has and the state lacks. Policies are set as well.
	Additions
	// AdditionsOnly leaves the policies of a namespace alone that is there.
	AdditionsOnly
)

// Make plans how a state becomes that of a catalog. Waivers count on the day of on.
//
// Errors: ErrRefused for a catalog without an event, broker.ErrTopicMissing for a topic
// that is there and not partitioned, schemas.ErrNotATopicSchema for one that is not
// Runnel's, schemas.ErrSchemaConflict.
func Make(c *schemas.Catalog, s *State, settings Settings, mode Mode, on time.Time) (*Plan, error) {
	if len(c.Events()) == 0 {
		return nil, ErrRefused.New("the catalog holds no event").Fix("An event is a record with the property \"aggregate\", which names its aggregate type.")
	}
	p := &Plan{namespace: s.Target.Namespace}
	p.keep(s)
	p.policies(s, mode)
	h := s.History()
	var withdrawn []withdrawal
	if mode == Whole {
		withdrawn = s.withdrawn(c)
	}
	p.Findings = settings.judgeAll(c, h, s.Target.topicOf, on)
	if mode != Whole { // what some version holds stays as it is, and what the catalog lacks too
		p.Findings = slices.DeleteFunc(p.Findings, func(f Finding) bool {
			e, ok := c.Event(f.Event)
			if ok {
				_, ok = h.find(e.Name, e.Fingerprint)
				return ok
			}
			return true
		})
	}
	for i := range s.Topics {
		t := &s.Topics[i]
		if err := p.topic(c, s, t, withdrawn, mode); err != nil {
			return nil, err
		}
	}
	for _, e := range p.carried {
		p.Findings = append(p.Findings, settings.judge(e, h, s.Target.topicOf)...)
	}
	settings.applyWaivers(p.Findings, on)
	p.Findings = concern(p.Findings, slices.Concat(p.carried, c.Events()), s.Readers(), h)
	p.Findings = slices.Concat(p.Findings, rerouted(c, withdrawn, h), s.needed(withdrawn, h))
	settings.applyWaivers(p.Findings, on)
	p.Findings = append(p.Findings, settings.missed(p.Findings, on)...)
	p.types(c, s, withdrawn)
	return p, nil
}

// keep comes before the namespace's retention is lowered.
func (p *Plan) keep(s *State) {
	for i := range s.Topics {
		if t := &s.Topics[i]; t.Trimmed {
			p.Steps = append(p.Steps, Step{Kind: KeepTopic, Object: t.Full, Partitions: t.Partitions, Policy: "retention",
				From: s.Target.Policy.Retention.String(), To: broker.Retention{}.String()})
		}
	}
}

func (p *Plan) policies(s *State, mode Mode) {
	deviations := s.Deviations
	if slices.ContainsFunc(deviations, broker.Deviation.Missing) {
		deviations = append(slices.Clone(deviations), broker.NewNamespace(s.Target.Policy)...)
	} else if mode == AdditionsOnly {
		return
	}
	for _, d := range deviations {
		if d.Deletes {
			p.Notes = append(p.Notes, "The broker deletes what the new retention does not cover.")
		}
		p.Steps = append(p.Steps, Step{Kind: SetPolicy, Object: s.Target.Namespace, Policy: d.Policy, From: d.Have, To: d.Want})
	}
}

// topic plans a topic, and its schema.
func (p *Plan) topic(c *schemas.Catalog, s *State, t *Topic, withdrawn []withdrawal, mode Mode) error {
	if _, own := s.Target.own(t.Name); own {
		if !t.Exists {
			p.create(t, 1)
		}
		return nil
	}
	var events []*schemas.EventType
	for _, e := range c.Events() {
		if s.Target.topicOf(e) == t.Name {
			events = append(events, e)
		}
	}
	var retire []string
	if newest := t.newest(); newest != nil {
		for _, w := range withdrawn {
			if w.topic == t.Name && !slices.Contains(newest.Retired(), w.event) {
				retire = append(retire, w.event)
			}
		}
	}
	if mode != Whole {
		// What some version holds stays as the newest has it: the catalog may be the older.
		events = slices.DeleteFunc(events, t.heldAlike)
	}
	if len(events) == 0 && len(retire) == 0 {
		return nil
	}
	if t.Foreign != nil {
		return t.Foreign
	}
	switch {
	case !t.Exists:
		p.create(t, s.Target.Partitions)
		if s.Published[t.Full] > 0 {
			p.Notes = append(p.Notes, fmt.Sprintf("%s is gone though a pipeline was ready to publish to it: find out first who deleted it, and whether it can be restored.", t.Full))
		}
	case t.Partitions == 0:
		return broker.ErrTopicMissing.New("the topic exists, but is not partitioned").At("%s", t.Full).
			Fix("Delete the topic, or route the events to another one: Runnel's topics are partitioned from the start.")
	case t.Partitions != s.Target.Partitions && s.Published[t.Full] != s.Target.Partitions:
		p.Notes = append(p.Notes, fmt.Sprintf("%s has %d partitions, and topics.partitions is %d: it keeps its own, which is for life.", t.Full, t.Partitions, s.Target.Partitions))
	}
	for _, e := range events {
		if v, ok := t.former(e); ok && mode == Whole {
			p.Notes = append(p.Notes, fmt.Sprintf("%s goes back to what it was in version %d of the schema of %s. If that is not meant, the folder is older than what was applied last.", e.Name, v, t.Name))
		}
	}
	if mode == Whole && len(retire) == 0 && t.isNewest(events) {
		return nil
	}
	return p.register(t, events, retire)
}

// create plans that a topic is made.
func (p *Plan) create(t *Topic, partitions int) {
	to := fmt.Sprintf("%d partitions", partitions)
	if partitions == 1 {
		to = "1 partition"
	}
	p.Steps = append(p.Steps, Step{Kind: CreateTopic, Object: t.Full, From: "missing", To: to, Partitions: partitions})
}

// heldAlike reports whether some version of the topic's schema holds the event as it is.
func (t *Topic) heldAlike(e *schemas.EventType) bool {
	return slices.ContainsFunc(t.Versions, func(v *schemas.TopicSchema) bool {
		held, ok := v.Event(e.Name)
		return ok && held.Fingerprint == e.Fingerprint
	})
}

// former returns the last version that holds the event as it is, when a later one holds
// it otherwise.
func (t *Topic) former(e *schemas.EventType) (version int64, ok bool) {
	if newest, ok := event(t.newest(), e.Name); !ok || newest.Fingerprint == e.Fingerprint {
		return 0, false
	}
	for _, v := range slices.Backward(t.Versions) {
		if held, ok := v.Event(e.Name); ok && held.Fingerprint == e.Fingerprint {
			return v.Version, true
		}
	}
	return 0, false
}

// isNewest reports whether the newest version holds the events as they are, and none of
// them retired.
func (t *Topic) isNewest(events []*schemas.EventType) bool {
	newest := t.newest()
	return !slices.ContainsFunc(events, func(e *schemas.EventType) bool {
		held, ok := event(newest, e.Name)
		return !ok || held.Fingerprint != e.Fingerprint || slices.Contains(newest.Retired(), e.Name)
	})
}

// noSchema is what a step to the first version of a topic's schema starts from.
const noSchema = "no schema"

// register plans the next version of a topic's schema.
func (p *Plan) register(t *Topic, events []*schemas.EventType, retire []string) error {
	newest := t.newest()
	composed, err := schemas.Compose(t.Name, events, newest, retire...)
	if err != nil {
		return err
	}
	for _, b := range composed.Events() {
		now, _ := composed.Event(b.Name)
		was, ok := event(newest, b.Name)
		given := slices.ContainsFunc(events, func(e *schemas.EventType) bool { return e.Name == b.Name })
		if ok && !given && was.Fingerprint != now.Fingerprint && !slices.Contains(composed.Retired(), b.Name) {
			p.carried = append(p.carried, now)
		}
	}
	step := Step{Kind: Register, Object: t.Full, From: noSchema}
	step.Changes, step.Fields = changes(newest, composed)
	next := t.next
	if newest != nil {
		step.From = fmt.Sprintf("version %d", newest.Version)
	}
	for _, v := range t.Versions {
		if composed.Equal(v) {
			step.Changes = append(step.Changes, fmt.Sprintf("equal to version %d, which the registry would answer with: registered as a revision of it", v.Version))
			if composed, err = composed.Revised(int(next)); err != nil {
				return err
			}
			break
		}
	}
	step.To, step.Version, step.Schema = fmt.Sprintf("version %d", next), next, composed.JSON
	p.Steps = append(p.Steps, step)
	p.Affected = append(p.Affected, t.Readers...)
	return nil
}

// changes tells what a version changes, an event a line, and in which fields.
func changes(was, now *schemas.TopicSchema) (all []string, fields map[string][]Change) {
	fields = make(map[string][]Change)
	for _, b := range now.Events() {
		e, _ := now.Event(b.Name)
		line := ""
		before, ok := event(was, b.Name)
		switch {
		case !ok:
			line = "+ " + b.Name
		case before.Fingerprint != e.Fingerprint:
			line = "~ " + b.Name
		case slices.Contains(now.Retired(), b.Name) && !slices.Contains(was.Retired(), b.Name):
			line = "- " + b.Name + " (retired: its branch stays, for what was published)"
		case !slices.Contains(now.Retired(), b.Name) && slices.Contains(was.Retired(), b.Name):
			line = "+ " + b.Name + " (was retired)"
		default:
			continue
		}
		if why, deprecated := e.Schema.Deprecated(); deprecated {
			line += deprecation(why)
		}
		all = append(all, line)
		if ok && before.Fingerprint != e.Fingerprint {
			fields[line] = Diff(before.Schema, e.Schema)
		}
	}
	return all, fields
}

func event(t *schemas.TopicSchema, name string) (*schemas.EventType, bool) {
	if t == nil {
		return nil, false
	}
	return t.Event(name)
}
