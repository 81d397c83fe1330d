package lint

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/schemas"
)

// typeText writes a type as people do, inside the type owner: with spaces, named
// types by their names.
func typeText(s *schemas.Schema, owner *schemas.Schema) string {
	switch {
	case s.Name != "" && s.Namespace == owner.Namespace:
		return quoted(s.Name)
	case s.Name != "":
		return quoted(s.FullName())
	case s.Type == schemas.Union:
		var branches []string
		for _, b := range s.Branches {
			branches = append(branches, typeText(b, owner))
		}
		return "[" + strings.Join(branches, ", ") + "]"
	case s.Type == schemas.Array:
		return `{"type": "array", "items": ` + typeText(s.Items, owner) + "}"
	case s.Type == schemas.Map:
		return `{"type": "map", "values": ` + typeText(s.Items, owner) + "}"
	}
	text := quoted(s.Type.String())
	if s.Logical == schemas.NoLogical && len(s.Props) == 0 {
		return text
	}
	text = `{"type": ` + text
	if s.Logical != schemas.NoLogical {
		text += `, "logicalType": ` + quoted(s.Logical.String())
	}
	if s.Logical == schemas.Decimal {
		text += fmt.Sprintf(`, "precision": %d, "scale": %d`, s.Precision, s.Scale)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Props)) {
		text += ", " + quoted(key) + ": " + string(s.Props[key])
	}
	return text + "}"
}

func quoted(text string) string { return `"` + text + `"` }

// nullable returns a type that may be null, with null first, made of s.
func nullable(s *schemas.Schema) *schemas.Schema {
	u := &schemas.Schema{Type: schemas.Union, Branches: []*schemas.Schema{{Type: schemas.Null}}}
	if s.Type != schemas.Union {
		u.Branches = append(u.Branches, s)
		return u
	}
	for _, b := range s.Branches {
		if b.Type != schemas.Null {
			u.Branches = append(u.Branches, b)
		}
	}
	return u
}

// replaced returns s with the unnamed schema old in it replaced.
func replaced(s, old, by *schemas.Schema) *schemas.Schema {
	if s == old {
		return by
	}
	if s.Name != "" {
		return s
	}
	out := *s
	out.Branches = nil
	for _, b := range s.Branches {
		out.Branches = append(out.Branches, replaced(b, old, by))
	}
	if s.Items != nil {
		out.Items = replaced(s.Items, old, by)
	}
	return &out
}

// The types that fixes propose.
var (
	money      = &schemas.Schema{Type: schemas.Bytes, Logical: schemas.Decimal, Precision: 12, Scale: 2}
	instant    = &schemas.Schema{Type: schemas.Long, Logical: schemas.TimestampMicros}
	day        = &schemas.Schema{Type: schemas.Int, Logical: schemas.Date}
	uuidString = &schemas.Schema{Type: schemas.String, Logical: schemas.UUID}
)

// typeAttribute is the field's "type" with old in it replaced, to paste.
func typeAttribute(owner *schemas.Schema, f *schemas.Field, old, by *schemas.Schema) string {
	return `"type": ` + typeText(replaced(f.Type, old, by), owner)
}
