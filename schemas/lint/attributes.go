package lint

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/nearest"
	"github.com/runnel-cdc/runnel/schemas"
)

// fieldAttributes finds attributes of types that stand beside a field's type, and
// so are properties of the field.
func fieldAttributes(l *linter, s *schemas.Schema, f *schemas.Field) {
	if raw, ok := f.Props["logicalType"]; ok {
		inner := ""
		for _, key := range []string{"precision", "scale"} {
			if v, ok := f.Props[key]; ok {
				inner += ", " + quoted(key) + ": " + string(v)
			}
		}
		base := typeText(baseType(f.Type), s)
		fix := `Put it inside the type: "type": {"type": ` + base + `, "logicalType": ` + string(raw) + inner + "}."
		if f.Type.Type == schemas.Union {
			fix = `Put it inside the type: {"type": ` + base + `, "logicalType": ` + string(raw) + inner + "} as a branch of the union."
		}
		l.atField(s, f, fix, "has a logicalType beside its type, where it is ignored")
	}
	for _, key := range []string{"symbols", "items", "values", "fields", "namespace"} {
		if _, ok := f.Props[key]; ok {
			l.atField(s, f, "Put it inside the type, or remove it.", "has %q beside its type, where it is ignored", key)
		}
	}
}

// baseType is the type that a logical type beside a field was meant for.
func baseType(s *schemas.Schema) *schemas.Schema {
	for _, b := range s.Branches {
		if b.Type != schemas.Null {
			return b
		}
	}
	return s
}

// misplaced are the attributes that only some types have.
var misplaced = map[string][]schemas.Type{
	"default":   {schemas.Enum},
	"order":     nil,
	"aliases":   {schemas.Record, schemas.Enum, schemas.Fixed},
	"name":      {schemas.Record, schemas.Enum, schemas.Fixed},
	"namespace": {schemas.Record, schemas.Enum, schemas.Fixed},
	"symbols":   {schemas.Enum},
	"items":     {schemas.Array},
	"values":    {schemas.Map},
	"fields":    {schemas.Record},
	"size":      {schemas.Fixed},
}

func schemaAttributes(l *linter, at spot) {
	s := at.schema
	for _, key := range slices.Sorted(maps.Keys(s.Props)) {
		of, known := misplaced[key]
		if !known || slices.Contains(of, s.Type) {
			continue
		}
		if at.field == nil {
			l.at(at, at.pos(), "Remove it.", "has %q, which means nothing on %s", key, article(s.Type))
			continue
		}
		fix := "Remove it."
		if key == "default" || key == "order" || key == "aliases" {
			fix = "Put it beside the field's type: {\"name\": ..., \"type\": ..., " + quoted(key) + ": " + string(s.Props[key]) + "}."
		}
		l.at(at, at.pos(), fix, "has %q inside its type, %s, where it is ignored", key, article(s.Type))
	}
	if s.Type != schemas.Bytes && s.Type != schemas.Fixed || s.Props["logicalType"] != nil {
		return
	}
	for _, key := range []string{"precision", "scale"} {
		if s.Props[key] != nil {
			l.at(at, at.pos(), `Add "logicalType": "decimal".`, "has a %s and no logical type, so it is plain %s", key, s.Type)
			return
		}
	}
}

// The attributes that a misspelt property may have been meant for. Those without
// which there would be no schema are not missing.
var (
	fieldKeys  = []string{"default", "aliases", "doc"}
	recordKeys = []string{"aggregate", "namespace", "aliases", "doc"}
	enumKeys   = []string{"default", "namespace", "aliases", "doc"}
	fixedKeys  = []string{"logicalType", "precision", "scale", "namespace", "aliases", "doc"}
)

// meantFor are words for an attribute that are no misspelling of it.
var meantFor = map[string]string{
	"alias": "aliases", "docs": "doc", "documentation": "doc", "description": "doc", "comment": "doc",
	"defaultvalue": "default", "aggregatetype": "aggregate", "package": "namespace",
}

func fieldMisspelt(l *linter, s *schemas.Schema, f *schemas.Field) {
	misspelt(f.Props, fieldKeys, func(key, meant string) {
		l.atField(s, f, "Write "+quoted(meant)+".", "has the property %q, which is probably meant to be %q", key, meant)
	})
	unnamed(f.Type, func(x *schemas.Schema) {
		misspelt(x.Props, fixedKeys[:3], func(key, meant string) {
			l.at(spot{s, f, x}, x.Pos, "Write "+quoted(meant)+".", "has the property %q in its type, which is probably meant to be %q", key, meant)
		})
	})
}

func typeMisspelt(l *linter, s *schemas.Schema) {
	keys := map[schemas.Type][]string{schemas.Record: recordKeys, schemas.Enum: enumKeys, schemas.Fixed: fixedKeys}[s.Type]
	misspelt(s.Props, keys, func(key, meant string) {
		l.atType(s, "Write "+quoted(meant)+".", "has the property %q, which is probably meant to be %q", key, meant)
	})
}

// misspelt calls report for each property that is nearly one of keys.
func misspelt(props map[string]json.RawMessage, keys []string, report func(key, meant string)) {
	for _, key := range slices.Sorted(maps.Keys(props)) {
		if _, attribute := misplaced[key]; attribute || slices.Contains(fixedKeys, key) || slices.Contains(recordKeys, key) {
			continue // spelt as it should be; ATTRIBUTE_MISPLACED or all right
		}
		bare := strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(key))
		meant := meantFor[bare]
		for _, k := range keys {
			if strings.ToLower(k) == bare {
				meant = k
			}
		}
		if meant == "" && len(bare) > 4 {
			meant = nearest.Within(1+len(bare)/9, bare, keys)
		}
		if slices.Contains(keys, meant) {
			report(key, meant)
		}
	}
}

func typeDeprecated(l *linter, s *schemas.Schema) {
	if flaw, bad := deprecatedFlaw(s.Props); bad {
		l.atType(s, deprecatedFix, "has \"deprecated\": %s", flaw)
	}
}

func fieldDeprecated(l *linter, s *schemas.Schema, f *schemas.Field) {
	if flaw, bad := deprecatedFlaw(f.Props); bad {
		l.atField(s, f, deprecatedFix, "has \"deprecated\": %s", flaw)
	}
}

const deprecatedFix = `Write "deprecated": true, or why and what to use instead: "deprecated": "Use total.". Remove it from what is not deprecated.`

func deprecatedFlaw(props map[string]json.RawMessage) (text string, bad bool) {
	raw, ok := props["deprecated"]
	if !ok || string(raw) == "true" {
		return "", false
	}
	var why string
	if json.Unmarshal(raw, &why) == nil && strings.TrimSpace(why) != "" {
		return "", false
	}
	return shortened(string(raw)), true
}

// shortened keeps what a person wants to read of a text.
func shortened(text string) string {
	const most = 60
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " [...]"
}
