package evolution

import (
	"fmt"
	"strings"

	"github.com/runnel-cdc/runnel/schemas"
)

// Change is one difference between two versions of an event.
type Change struct {
	Path string `json:"path"` // $ is the event itself, $.lines[].price a field
	Was  string `json:"was"`  // "" when it is added
	Now  string `json:"now"`  // "" when it is removed
}

// String writes the change as + path: type, - path: type or ~ path: type -> type.
func (c Change) String() string {
	switch {
	case c.Was == "":
		return "+ " + c.Path + ": " + c.Now
	case c.Now == "":
		return "- " + c.Path + ": " + c.Was
	}
	return "~ " + c.Path + ": " + c.Was + " -> " + c.Now
}

// Diff compares two versions of an event, field by field. A type within is compared
// where it is first used. Versions that differ in nothing else differ in the order of
// their fields, or in properties that no field shows.
func Diff(was, now *schemas.Schema) []Change {
	before, after := flatten(was), flatten(now)
	var all []Change
	for _, line := range before.lines {
		if text := after.byPath[line]; text != before.byPath[line] {
			all = append(all, Change{line, before.byPath[line], text})
		}
	}
	for _, line := range after.lines {
		if _, known := before.byPath[line]; !known {
			all = append(all, Change{Path: line, Now: after.byPath[line]})
		}
	}
	if len(all) > 0 {
		return all
	}
	for i, line := range before.lines {
		if after.lines[i] != line {
			return []Change{{"$", "fields in this order: " + strings.Join(before.lines[1:], ", "), strings.Join(after.lines[1:], ", ")}}
		}
	}
	if was.Fingerprint() != now.Fingerprint() {
		return []Change{{"$", "other properties", "these"}}
	}
	return nil
}

// Fields lists an event's fields with their types, one path each, in order.
func Fields(s *schemas.Schema) []Change {
	f := flatten(s)
	var all []Change
	for _, line := range f.lines[1:] {
		all = append(all, Change{Path: line, Now: f.byPath[line]})
	}
	return all
}

// flat is a schema as lines: a path, and what is there.
type flat struct {
	lines  []string
	byPath map[string]string
	fields map[string]*schemas.Field // by path
	seen   map[*schemas.Schema]bool
}

// maxLines bounds what is listed of a schema made to be large.
const maxLines = 10_000

func flatten(s *schemas.Schema) *flat {
	f := &flat{byPath: make(map[string]string), fields: make(map[string]*schemas.Field), seen: make(map[*schemas.Schema]bool)}
	f.note("$", outline(s)+marks(s))
	f.inside("$", s)
	return f
}

func (f *flat) note(path, text string) {
	if _, known := f.byPath[path]; !known && len(f.lines) < maxLines {
		f.lines = append(f.lines, path)
		f.byPath[path] = text
	}
}

// inside lists the fields of the records below a place.
func (f *flat) inside(path string, s *schemas.Schema) {
	switch {
	case len(f.lines) >= maxLines:
	case s.Items != nil:
		f.inside(path+map[schemas.Type]string{schemas.Array: "[]", schemas.Map: "{}"}[s.Type], s.Items)
	case s.Type == schemas.Union:
		for _, b := range s.Branches {
			f.inside(path, b)
		}
	case s.Type == schemas.Record && !f.seen[s]:
		f.seen[s] = true
		for _, field := range s.Fields {
			text := outline(field.Type)
			if field.Default != nil {
				text += " = " + string(field.Default)
			}
			if len(field.Aliases) > 0 {
				text += " aliases " + strings.Join(field.Aliases, ", ")
			}
			if why, deprecated := field.Deprecated(); deprecated {
				text += deprecation(why)
			}
			f.note(path+"."+field.Name, text)
			f.fields[path+"."+field.Name] = field
			f.inside(path+"."+field.Name, field.Type)
		}
	}
}

// outline names a type in a few words.
func outline(s *schemas.Schema) string {
	switch s.Type {
	case schemas.Array:
		return "array of " + outline(s.Items)
	case schemas.Map:
		return "map of " + outline(s.Items)
	case schemas.Union:
		var branches []string
		for _, b := range s.Branches {
			branches = append(branches, outline(b))
		}
		return strings.Join(branches, " or ")
	case schemas.Enum:
		text := "enum " + s.FullName() + " (" + strings.Join(s.Symbols, ", ") + ")"
		if s.EnumDefault != "" {
			text += " default " + s.EnumDefault
		}
		return text
	case schemas.Record:
		return "record " + s.FullName()
	case schemas.Fixed:
		return fmt.Sprintf("fixed %s (%d bytes)", s.FullName(), s.Size)
	}
	switch s.Logical {
	case schemas.NoLogical:
		return s.Type.String()
	case schemas.Decimal:
		return fmt.Sprintf("decimal(%d,%d)", s.Precision, s.Scale)
	}
	return s.Logical.String()
}

// marks tells what an event carries beside its fields.
func marks(s *schemas.Schema) string {
	text := ""
	if aggregate, ok := s.Aggregate(); ok {
		text += " of aggregate " + aggregate
	}
	if len(s.Aliases) > 0 {
		text += " aliases " + strings.Join(s.Aliases, ", ")
	}
	if why, deprecated := s.Deprecated(); deprecated {
		text += deprecation(why)
	}
	return text
}

func deprecation(why string) string {
	if why == "" {
		return " (deprecated)"
	}
	return " (deprecated: " + strings.Join(strings.Fields(why), " ") + ")"
}

// Deprecated lists what a catalog's events mark as deprecated: themselves and their
// fields, as path and what to use instead.
func Deprecated(c *schemas.Catalog) []Change {
	var all []Change
	for _, e := range c.Events() {
		if why, ok := e.Schema.Deprecated(); ok {
			all = append(all, Change{Path: e.Name, Now: why})
		}
		for _, f := range e.Schema.Fields {
			if why, ok := f.Deprecated(); ok {
				all = append(all, Change{Path: e.Name + "." + f.Name, Now: why})
			}
		}
	}
	return all
}
