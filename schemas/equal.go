package schemas

import "bytes"

// Equal reports whether the registry would take t and o for the same version: by
// the equality of Avro's Java library, which ignores docs, aliases and the
// defaults of enums, but not properties. Versions play no part.
func (t *TopicSchema) Equal(o *TopicSchema) bool {
	return equalSchemas(t.schema, o.schema, make(map[[2]*Schema]bool))
}

// equalSchemas compares what Schema.equals of Avro 1.11 compares. Pairs that are
// being compared further up are taken as equal, which ends recursion.
func equalSchemas(a, b *Schema, seen map[[2]*Schema]bool) bool {
	if a == b {
		return true
	}
	if a.Type != b.Type || a.FullName() != b.FullName() || a.Logical != b.Logical ||
		a.Precision != b.Precision || a.Scale != b.Scale || a.Size != b.Size ||
		len(a.Fields) != len(b.Fields) || len(a.Symbols) != len(b.Symbols) || len(a.Branches) != len(b.Branches) ||
		!equalProps(a.Props, b.Props) {
		return false
	}
	if a.Name != "" {
		pair := [2]*Schema{a, b}
		if seen[pair] {
			return true
		}
		seen[pair] = true
	}
	for i, f := range a.Fields {
		g := b.Fields[i]
		if f.Name != g.Name || f.Order != g.Order || (f.Default == nil) != (g.Default == nil) ||
			!bytes.Equal(f.Default, g.Default) || !equalProps(f.Props, g.Props) || !equalSchemas(f.Type, g.Type, seen) {
			return false
		}
	}
	for i, symbol := range a.Symbols {
		if symbol != b.Symbols[i] {
			return false
		}
	}
	for i := range a.Branches {
		if !equalSchemas(a.Branches[i], b.Branches[i], seen) {
			return false
		}
	}
	return a.Items == nil || equalSchemas(a.Items, b.Items, seen)
}

func equalProps[V ~[]byte](a, b map[string]V) bool {
	if len(a) != len(b) {
		return false
	}
	for key, v := range a {
		w, ok := b[key]
		if !ok || !bytes.Equal(v, w) {
			return false
		}
	}
	return true
}
