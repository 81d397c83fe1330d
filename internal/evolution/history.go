package evolution

import (
	"fmt"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/schemas"
)

// Version is an event as it once was.
type Version struct {
	Event *schemas.EventType
	Label string // where it is from, as people know it: "version 3 of the topic", "main"
	// In are the versions of the topic's schema that hold it, oldest first; none when it
	// is not from the registry.
	In []int64
	// Retired: it is published no more. What was published may be retained.
	Retired bool

	topic string // local name of the one that holds it
}

// History is what a catalog is judged against: the versions of each event, oldest
// first, each fingerprint once. The last one is what the catalog takes the place of.
type History map[string][]Version

// FromCatalog makes a history of one catalog: of a git reference, or a folder.
func FromCatalog(label string, c *schemas.Catalog) History {
	h := make(History)
	for _, e := range c.Events() {
		h[e.Name] = []Version{{Event: e, Label: label}}
	}
	return h
}

// add adds the versions of a topic's schema: of the events that go there now, or of
// those that went there once, by another route. An event that several versions hold
// alike counts as the newest of them.
func (h History) add(t *Topic, target Target, here bool) {
	for _, version := range t.Versions {
		for _, b := range version.Events() {
			e, _ := version.Event(b.Name) // a topic's schema holds its own branches
			if (target.topicOf(e) == t.Name) != here {
				continue
			}
			v := Version{Event: e, Retired: slices.Contains(t.newest().Retired(), e.Name)}
			if known, ok := h.find(e.Name, e.Fingerprint); ok && known.topic == t.Name {
				v.In = known.In
			}
			v.In, v.topic = append(v.In, version.Version), t.Name
			if v.Label = numbers(v.In); !here {
				v.Label += " of topic " + t.Name
			}
			same := func(v Version) bool { return v.Event.Fingerprint == e.Fingerprint }
			h[e.Name] = append(slices.DeleteFunc(h[e.Name], same), v)
		}
	}
}

// numbers names versions: version 3; versions 0 to 2, 4.
func numbers(in []int64) string {
	var parts []string
	for i := 0; i < len(in); {
		end := i
		for end+1 < len(in) && in[end+1] == in[end]+1 {
			end++
		}
		part := fmt.Sprint(in[i])
		switch {
		case end > i+1:
			part += fmt.Sprintf(" to %d", in[end])
		case end > i:
			part += fmt.Sprintf(", %d", in[end])
		}
		parts, i = append(parts, part), end+1
	}
	if len(in) == 1 {
		return "version " + parts[0]
	}
	return "versions " + strings.Join(parts, ", ")
}

// Last returns the newest version of an event.
func (h History) Last(event string) (Version, bool) {
	versions := h[event]
	if len(versions) == 0 {
		return Version{}, false
	}
	return versions[len(versions)-1], true
}

// find returns the version with a fingerprint.
func (h History) find(event string, fp schemas.Fingerprint) (Version, bool) {
	for _, v := range h[event] {
		if v.Event.Fingerprint == fp {
			return v, true
		}
	}
	return Version{}, false
}
