package evolution

import (
	"fmt"
	"slices"

	"github.com/runnel-cdc/runnel/schemas"
)

// Version is an event as it once was.
type Version struct {
	Event *schemas.EventType
	Label string // where it is from, as people know it: "version 3 of the topic", "main"
	// Registered is the newest version of the topic's schema that holds it; -1 when it
	// is not from the registry.
	Registered int64
	// Retired: it is published no more. What was published may be retained.
	Retired bool
}

// History is what a catalog is judged against: the versions of each event, oldest
// first, each fingerprint once. The last one is what the catalog takes the place of.
type History map[string][]Version

// FromCatalog makes a history of one catalog: of a git reference, or a folder.
func FromCatalog(label string, c *schemas.Catalog) History {
	h := make(History)
	for _, e := range c.Events() {
		h[e.Name] = []Version{{Event: e, Label: label, Registered: -1}}
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
			label := fmt.Sprintf("version %d", version.Version)
			if !here {
				label += " of topic " + t.Name
			}
			same := func(v Version) bool { return v.Event.Fingerprint == e.Fingerprint }
			h[e.Name] = append(slices.DeleteFunc(h[e.Name], same), Version{
				Event: e, Label: label, Registered: version.Version, Retired: slices.Contains(t.newest().Retired(), e.Name),
			})
		}
	}
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
