package schemas

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/nearest"
)

// TopicSchema is the schema of a topic: a record with one field, `event`, a
// union of event records. It is immutable and safe for concurrent use.
//
// Invariants: the order of branches never changes from one version to the next,
// branches are only added at the end, and everything in a TopicSchema follows
// from its JSON.
type TopicSchema struct {
	Name    string // the record's full name
	JSON    string // as registered, or to be registered
	Version int64  // in the registry; -1 while it is not registered

	schema  *Schema
	events  []*EventType // by branch
	byName  map[string]int
	retired []string
}

// BranchInfo is one event of a topic's schema.
type BranchInfo struct {
	Name        string
	Fingerprint Fingerprint
	Index       int // of the union's branch
}

// ParseTopicSchema reads a topic's schema as the registry holds it. It returns
// ErrNotATopicSchema for one that Runnel did not compose.
func ParseTopicSchema(text string, version int64) (*TopicSchema, error) {
	s, err := parseStrict([]byte(text), "")
	if err != nil {
		return nil, err
	}
	if s.Type != Record || len(s.Fields) != 1 || s.Fields[0].Name != eventField || s.Fields[0].Type.Type != Union {
		return nil, ErrNotATopicSchema.New("%s is a %s that Runnel did not compose", s.FullName(), s.Type)
	}
	t := &TopicSchema{Name: s.FullName(), JSON: text, Version: version, schema: s, byName: make(map[string]int)}
	for i, b := range s.Fields[0].Type.Branches {
		e := newEventType(b)
		if e == nil {
			return nil, ErrNotATopicSchema.New("branch %d of %s, %s, is not an event", i, t.Name, b.FullName())
		}
		t.events = append(t.events, e)
		t.byName[e.Name] = i
	}
	if raw, ok := s.Props[retiredProp]; ok {
		if err := json.Unmarshal(raw, &t.retired); err != nil {
			return nil, ErrNotATopicSchema.New("its property %q is no list of names", retiredProp)
		}
	}
	return t, nil
}

// Schema returns the whole schema, of which every message of the topic is a
// value.
func (t *TopicSchema) Schema() *Schema { return t.schema }

// Events returns the events by the index of their branch.
func (t *TopicSchema) Events() []BranchInfo {
	out := make([]BranchInfo, len(t.events))
	for i, e := range t.events {
		out[i] = BranchInfo{Name: e.Name, Fingerprint: e.Fingerprint, Index: i}
	}
	return out
}

// Retired returns the events that are published no more: they were taken out of the
// catalog. Their branches stay, for what was published before. The slice must not be
// changed.
func (t *TopicSchema) Retired() []string { return t.retired }

// Revised returns the same schema as one of its own to the registry, which takes equal
// schemas for one version: to make what was registered before the newest again. n is
// what tells it from others, such as the number of versions. t is not registered.
func (t *TopicSchema) Revised(n int) (*TopicSchema, error) {
	if t.schema.Props[revisionProp] != nil || n < 0 {
		return nil, fmt.Errorf("schemas: %s cannot be revised", t)
	}
	return ParseTopicSchema(fmt.Sprintf(`%s,"%s":%d}`, strings.TrimSuffix(t.JSON, "}"), revisionProp, n), -1)
}

// Event returns the event of that name, in this version.
func (t *TopicSchema) Event(name string) (*EventType, bool) {
	i, ok := t.byName[name]
	if !ok {
		return nil, false
	}
	return t.events[i], true
}

// Split finds the event in a message's bytes: its type, and its own bytes, which
// alias data. It reads the union's index only; Validate the payload before
// decoding it with anything that trusts its input.
func (t *TopicSchema) Split(data []byte) (event *EventType, payload []byte, err error) {
	w := walker{data: data}
	n, next := w.long(0)
	if next < 0 {
		return nil, nil, w.error()
	}
	if uint64(n) >= uint64(len(t.events)) {
		w.path = []step{{eventField, stepField}}
		w.failIn(t.schema.Fields[0].Type, 0, badBranch, n)
		return nil, nil, w.error()
	}
	return t.events[n], data[next:], nil
}

// String names the schema and its version.
func (t *TopicSchema) String() string { return fmt.Sprintf("%s version %d", t.Name, t.Version) }

// appendBranch appends what precedes an event's own bytes.
func appendBranch(dst []byte, index int) []byte { return binary.AppendVarint(dst, int64(index)) }

// TopicCodec encodes a topic's messages under the version of its schema that
// fits each event. It is immutable and safe for concurrent use.
type TopicCodec struct {
	exact map[string]map[Fingerprint]branch
	// order holds an event's versions by the topic schema that holds each last, newest
	// last.
	order map[string][]branch
	count int
}

// branch is an event in one version of a topic's schema.
type branch struct {
	topic *TopicSchema
	event *EventType
	index int
}

// NewTopicCodec takes all registered versions of a topic's schema, newest last.
func NewTopicCodec(versions []*TopicSchema) (*TopicCodec, error) {
	c := &TopicCodec{exact: make(map[string]map[Fingerprint]branch), order: make(map[string][]branch), count: len(versions)}
	last := int64(math.MinInt64)
	for _, t := range versions {
		if t.Version < last {
			return nil, fmt.Errorf("schemas: version %d of %s comes after version %d", t.Version, t.Name, last)
		}
		last = t.Version
		for i, e := range t.events {
			b := branch{t, e, i}
			if c.exact[e.Name] == nil {
				c.exact[e.Name] = make(map[Fingerprint]branch)
			}
			c.exact[e.Name][e.Fingerprint] = b
			older := slices.DeleteFunc(c.order[e.Name], func(o branch) bool { return o.event.Fingerprint == e.Fingerprint })
			c.order[e.Name] = append(older, b)
		}
	}
	return c, nil
}

// AppendAvro appends the message for an event that is already encoded: payload
// is validated against the version of the event that fp names, and prefixed with
// the branch of the newest topic schema t that holds exactly that version.
// Nothing is allocated but dst's growth.
//
// Errors: ErrUnknownEvent, ErrUnknownFingerprint, ErrInvalidAvro; dst is then
// returned unchanged.
func (c *TopicCodec) AppendAvro(dst []byte, eventType string, fp Fingerprint, payload []byte) (out []byte, t *TopicSchema, err error) {
	b, ok := c.exact[eventType][fp]
	if !ok {
		return dst, nil, c.unknown(eventType, fp)
	}
	if err := Validate(b.event.Schema, payload); err != nil {
		return dst, nil, err
	}
	return append(appendBranch(dst, b.index), payload...), b.topic, nil
}

// AppendJSON appends the message for an event in JSON, transcoded under the newest
// version of the event that it fits: JSON does not say which one it was written for,
// and a service may go on as it is after a field was taken out of the schema. See
// AppendJSONToAvro for what JSON is accepted.
//
// Errors: ErrUnknownEvent, ErrInvalidJSON, which tells what the newest version finds;
// dst is then returned unchanged.
func (c *TopicCodec) AppendJSON(dst []byte, eventType string, payload []byte) (out []byte, t *TopicSchema, err error) {
	versions := c.order[eventType]
	if len(versions) == 0 {
		return dst, nil, c.unknown(eventType, Fingerprint{})
	}
	for _, b := range slices.Backward(versions) {
		out, failed := AppendJSONToAvro(appendBranch(dst, b.index), b.event.Schema, payload)
		if failed == nil {
			return out, b.topic, nil
		}
		if err == nil {
			err = failed
		}
	}
	return dst, nil, err
}

// unknown says which half of an event's identity is not registered.
func (c *TopicCodec) unknown(eventType string, fp Fingerprint) error {
	if versions := c.exact[eventType]; versions != nil {
		return ErrUnknownFingerprint.New("%s was encoded under the version %s, which none of the %d registered topic schemas holds",
			eventType, fp, c.count)
	}
	e := ErrUnknownEvent.New("the topic has no event type %q", eventType)
	var names []string
	for name := range c.order {
		names = append(names, name)
	}
	if near := nearest.Of(eventType, names); near != "" {
		return e.Fix("Did you mean %q? %s", near, ErrUnknownEvent.Remedy)
	}
	return e
}
