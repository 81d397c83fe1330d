// Package properties holds the properties of a message that is to be published.
//
// A message has a handful: a list costs neither memory nor hashing, which a map
// for every message does. What is read comes as a map, from the client.
package properties

import (
	"maps"
	"slices"
	"strings"
)

// Pair is one property.
type Pair struct{ Name, Value string }

// List is a message's properties. No name is there twice.
type List []Pair

// FromMap returns the properties of a map, ordered by name.
func FromMap(m map[string]string) List {
	if len(m) == 0 {
		return nil
	}
	l := make(List, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		l = append(l, Pair{name, m[name]})
	}
	return l
}

// Map returns the properties as a map.
func (l List) Map() map[string]string {
	m := make(map[string]string, len(l))
	for _, p := range l {
		m[p.Name] = p.Value
	}
	return m
}

// Clone returns a copy that refers to none of the memory of l.
func (l List) Clone() List {
	if l == nil {
		return nil
	}
	c := make(List, len(l))
	for i, p := range l {
		c[i] = Pair{strings.Clone(p.Name), strings.Clone(p.Value)}
	}
	return c
}

// Get returns the value of a property; "" if there is none.
func (l List) Get(name string) string {
	for _, p := range l {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}
