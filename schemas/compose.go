package schemas

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sort"
)

const (
	topicNamespace = "runnel"
	eventField     = "event"
	// fingerprintProp makes every change visible to the registry: by Avro's own
	// equality, schemas that differ in an alias, or in an enum's default, are the
	// same, so Pulsar would answer with the old version and never store the new one,
	// and rows encoded under it would have no schema to go out with. A property
	// that differs forces a new version.
	fingerprintProp = "fingerprint"
	retiredProp     = "retired"
	// revisionProp sets a schema apart from an equal one that was registered before
	// another: without it Pulsar would answer with the old version, and the newest would
	// stay another.
	revisionProp = "revision"
)

// Compose builds the schema of a topic from its events: a record
// `runnel.<topic>_event` with one field `event`, a union of the event records.
//
// Given the schema registered last, or nil, branches keep their places: an event
// that changed replaces its former version, a new one is added at the end (new
// ones by name), and one that is no longer among events stays as it was. Where
// such an event uses a type that has changed since, it is carried over to the new
// definition, since one schema cannot hold two of the same name; rows encoded
// under its old version still go out under the older topic schema.
//
// An event of previous that is among retire, and not among events, is marked as
// retired: see TopicSchema.Retired. It stays so until it is among events again.
//
// It returns ErrSchemaConflict when the events do not belong together. The result
// has Version -1.
func Compose(topicLocalName string, events []*EventType, previous *TopicSchema, retire ...string) (*TopicSchema, error) {
	name := topicNamespace + "." + topicRecordName(topicLocalName)
	current := make(map[string]*EventType, len(events))
	types := make(map[string]*Schema)
	for _, e := range events {
		if other := current[e.Name]; other != nil && other.Fingerprint != e.Fingerprint {
			return nil, ErrSchemaConflict.New("two versions of %s, %s and %s", e.Name, other.Fingerprint, e.Fingerprint)
		}
		current[e.Name] = e
		if err := collectTypes(e.Schema, types); err != nil {
			return nil, err
		}
	}
	branches := mergeBranches(current, previous)
	if len(branches) == 0 {
		return nil, ErrSchemaConflict.New("the topic %s has no events", topicLocalName)
	}
	w := &writer{defined: map[string]bool{name: true}, docs: true, instead: types}
	sum := sha256.New()
	w.text(`{"type":"record","name":`)
	w.quoted(name)
	w.text(`,"fields":[{"name":"` + eventField + `","type":[`)
	for i, e := range branches {
		if e.Name == name {
			return nil, ErrSchemaConflict.New("the event %s is named as the topic's own record", name)
		}
		if i > 0 {
			w.text(",")
		}
		w.schema(e.Schema, topicNamespace)
		alone := &writer{defined: make(map[string]bool), instead: types}
		alone.schema(e.Schema, "")
		fp := sha256.Sum256(alone.out)
		sum.Write(fp[:])
	}
	w.text(`]}],"` + fingerprintProp + `":"` + hex.EncodeToString(sum.Sum(nil)) + `"`)
	if retired := retiredOf(branches, current, previous, retire); len(retired) > 0 {
		w.text(`,"` + retiredProp + `":`)
		w.strings(retired)
	}
	w.text("}")
	t, err := ParseTopicSchema(string(w.out), -1)
	if err != nil {
		return nil, conflict(err, topicLocalName, branches, current, types)
	}
	for _, e := range events {
		if got, ok := t.Event(e.Name); !ok || got.Fingerprint != e.Fingerprint {
			return nil, ErrSchemaConflict.New("%s does not keep its definition within the schema of topic %s: a name of it means something else there",
				e.Name, topicLocalName)
		}
	}
	return t, nil
}

// conflict says why branches do not make one schema. An event that is kept as it was, and
// by itself does not go with the types that the others bring, is named: whoever changed
// the type may not know of it.
func conflict(err error, topic string, branches []*EventType, current map[string]*EventType, types map[string]*Schema) error {
	for _, e := range branches {
		if current[e.Name] != nil {
			continue
		}
		alone := &writer{defined: make(map[string]bool), docs: true, instead: types}
		alone.schema(e.Schema, "")
		if _, err := Parse(alone.out, ""); err != nil {
			return ErrSchemaConflict.Wrap(err, "%s, which the topic %s keeps since it was published there, does not go with a type that it shares with other events", e.Name, topic).
				Fix("Change the shared type so that its defaults there are still right; or leave it as it was, and give what is new a type of another name.")
		}
	}
	return ErrSchemaConflict.Wrap(err, "the events of the topic %s do not make one schema", topic)
}

// retiredOf returns the names of the branches that are retired, in their order.
func retiredOf(branches []*EventType, current map[string]*EventType, previous *TopicSchema, retire []string) []string {
	var names []string
	for _, e := range branches {
		before := previous != nil && slices.Contains(previous.retired, e.Name)
		if current[e.Name] == nil && (before || slices.Contains(retire, e.Name)) {
			names = append(names, e.Name)
		}
	}
	return names
}

// mergeBranches returns the events in the order of their branches.
func mergeBranches(current map[string]*EventType, previous *TopicSchema) []*EventType {
	var out []*EventType
	placed := make(map[string]bool)
	if previous != nil {
		for _, e := range previous.events {
			if now := current[e.Name]; now != nil {
				e = now
			}
			out = append(out, e)
			placed[e.Name] = true
		}
	}
	var added []*EventType
	for _, e := range current {
		if !placed[e.Name] {
			added = append(added, e)
		}
	}
	sort.Slice(added, func(i, j int) bool { return added[i].Name < added[j].Name })
	return append(out, added...)
}

// collectTypes adds the named types that s is made of.
func collectTypes(s *Schema, types map[string]*Schema) error {
	if s.Name != "" {
		full := s.FullName()
		if other := types[full]; other != nil {
			if other != s && other.Fingerprint() != s.Fingerprint() {
				return ErrSchemaConflict.New("two definitions of %s", full)
			}
			return nil
		}
		types[full] = s
	}
	for _, f := range s.Fields {
		if err := collectTypes(f.Type, types); err != nil {
			return err
		}
	}
	for _, b := range s.Branches {
		if err := collectTypes(b, types); err != nil {
			return err
		}
	}
	if s.Items != nil {
		return collectTypes(s.Items, types)
	}
	return nil
}

// topicRecordName is the local name of a topic as part of an Avro name.
func topicRecordName(topic string) string {
	b := []byte(topic)
	for i, c := range b {
		if !validName(string([]byte{'a', c})) {
			b[i] = '_'
		}
	}
	name := string(b) + "_event"
	if !validName(name) {
		name = "_" + name
	}
	return name
}
