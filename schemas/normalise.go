package schemas

import (
	"encoding/json"
	"sort"
	"strconv"
)

// Normalised returns s as self-contained JSON in one fixed form: no spaces, keys
// in a fixed order, full names, each named type defined where it is first used,
// custom properties and objects in defaults sorted by key, docs left out.
func (s *Schema) Normalised() string {
	w := &writer{defined: make(map[string]bool)}
	w.schema(s, "")
	return string(w.out)
}

// JSON returns s as Normalised does, with its docs.
func (s *Schema) JSON() string {
	w := &writer{defined: make(map[string]bool), docs: true}
	w.schema(s, "")
	return string(w.out)
}

// writer writes schemas as JSON.
type writer struct {
	out     []byte
	defined map[string]bool
	docs    bool
	// instead replaces the definitions of names, so that a document which draws
	// on schemas from several sources holds one definition of each name.
	instead map[string]*Schema
}

func (w *writer) text(s string) { w.out = append(w.out, s...) }

func (w *writer) quoted(s string) { w.out = appendQuoted(w.out, s) }

// schema writes s where the enclosing namespace is space.
func (w *writer) schema(s *Schema, space string) {
	switch {
	case s.Type == Union:
		w.text("[")
		for i, b := range s.Branches {
			if i > 0 {
				w.text(",")
			}
			w.schema(b, space)
		}
		w.text("]")
	case s.Name != "":
		w.named(s, space)
	case s.Items == nil && s.Logical == NoLogical && len(s.Props) == 0 && (s.Doc == "" || !w.docs):
		w.quoted(s.Type.String())
	default:
		w.text(`{"type":`)
		w.quoted(s.Type.String())
		if s.Items != nil {
			w.text(map[Type]string{Array: `,"items":`, Map: `,"values":`}[s.Type])
			w.schema(s.Items, space)
		}
		w.tail(s)
	}
}

func (w *writer) named(s *Schema, space string) {
	full := s.FullName()
	if w.defined[full] {
		w.quoted(full)
		return
	}
	w.defined[full] = true
	if other := w.instead[full]; other != nil {
		s = other
	}
	w.text(`{"type":`)
	w.quoted(s.Type.String())
	w.text(`,"name":`)
	w.quoted(full)
	if s.Namespace != "" {
		space = s.Namespace
	} else if space != "" {
		// Said at every level, because Avro's Java library lets a type without a
		// namespace pass on the one around it.
		w.text(`,"namespace":""`)
	}
	w.aliases(s.Aliases)
	switch s.Type {
	case Record:
		w.text(`,"fields":[`)
		for i, f := range s.Fields {
			if i > 0 {
				w.text(",")
			}
			w.field(f, space)
		}
		w.text("]")
	case Enum:
		w.text(`,"symbols":`)
		w.strings(s.Symbols)
		if s.EnumDefault != "" {
			w.text(`,"default":`)
			w.quoted(s.EnumDefault)
		}
	case Fixed:
		w.text(`,"size":`)
		w.out = strconv.AppendInt(w.out, int64(s.Size), 10)
	}
	w.tail(s)
}

func (w *writer) field(f *Field, space string) {
	w.text(`{"name":`)
	w.quoted(f.Name)
	w.text(`,"type":`)
	w.schema(f.Type, space)
	if f.Default != nil {
		w.text(`,"default":`)
		w.out = append(w.out, f.Default...)
	}
	if f.Order != "" {
		w.text(`,"order":`)
		w.quoted(f.Order)
	}
	w.aliases(f.Aliases)
	w.doc(f.Doc)
	w.props(f.Props)
	w.text("}")
}

// tail writes what every type may carry, and closes the object.
func (w *writer) tail(s *Schema) {
	if s.Logical != NoLogical {
		w.text(`,"logicalType":`)
		w.quoted(s.Logical.String())
	}
	if s.Logical == Decimal {
		w.text(`,"precision":`)
		w.out = strconv.AppendInt(w.out, int64(s.Precision), 10)
		w.text(`,"scale":`)
		w.out = strconv.AppendInt(w.out, int64(s.Scale), 10)
	}
	w.doc(s.Doc)
	w.props(s.Props)
	w.text("}")
}

func (w *writer) doc(doc string) {
	if w.docs && doc != "" {
		w.text(`,"doc":`)
		w.quoted(doc)
	}
}

func (w *writer) aliases(aliases []string) {
	if len(aliases) > 0 {
		w.text(`,"aliases":`)
		w.strings(aliases)
	}
}

func (w *writer) strings(list []string) {
	w.text("[")
	for i, s := range list {
		if i > 0 {
			w.text(",")
		}
		w.quoted(s)
	}
	w.text("]")
}

func (w *writer) props(props map[string]json.RawMessage) {
	keys := make([]string, 0, len(props))
	for key := range props {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		w.text(",")
		w.quoted(key)
		w.text(":")
		w.out = append(w.out, props[key]...)
	}
}
