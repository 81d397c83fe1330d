package lint

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/schemas"
)

// defaultInsideItself finds defaults that Avro's Java library cannot check: to do
// so it needs the fields of each record in them, and a record that is still open
// has none. Which records are open depends on where the topic's schema defines
// them first, so each that contains the field is one too many.
func defaultInsideItself(l *linter, s *schemas.Schema, f *schemas.Field) {
	if f.Default == nil {
		return
	}
	seen := make(map[*schemas.Field]bool)
	eachRecord(f.Type, f.Default, seen, func(r *schemas.Schema) bool {
		if r != s && !l.reaches(r, s) {
			return true
		}
		l.atField(s, f, "Remove the default, or make it null: \"type\": "+typeText(nullable(f.Type), s)+", \"default\": null.",
			"has a default with a value of %s, which contains the field itself", r.FullName())
		return false
	})
}

// eachRecord calls f for every record that a default gives a value of, the
// defaults of fields that it leaves out among them, until f returns false.
func eachRecord(s *schemas.Schema, value json.RawMessage, seen map[*schemas.Field]bool, f func(*schemas.Schema) bool) bool {
	switch s.Type {
	case schemas.Union:
		return eachRecord(s.Branches[0], value, seen, f)
	case schemas.Array:
		var items []json.RawMessage
		_ = json.Unmarshal(value, &items) // the parser has checked it, here and below
		for _, item := range items {
			if !eachRecord(s.Items, item, seen, f) {
				return false
			}
		}
	case schemas.Map:
		for _, item := range sortedMembers(value) {
			if !eachRecord(s.Items, item, seen, f) {
				return false
			}
		}
	case schemas.Record:
		if !f(s) {
			return false
		}
		var given map[string]json.RawMessage
		_ = json.Unmarshal(value, &given)
		for _, field := range s.Fields {
			v, ok := given[field.Name]
			if !ok {
				if seen[field] {
					continue
				}
				seen[field] = true
				v = field.Default
			}
			if !eachRecord(field.Type, v, seen, f) {
				return false
			}
		}
	}
	return true
}

func sortedMembers(object json.RawMessage) []json.RawMessage {
	var given map[string]json.RawMessage
	_ = json.Unmarshal(object, &given)
	var values []json.RawMessage
	for _, key := range slices.Sorted(maps.Keys(given)) {
		values = append(values, given[key])
	}
	return values
}

// aggregateReserved finds what Pulsar 4.0 does not take as a partitioned topic of
// one's own.
func aggregateReserved(l *linter, s *schemas.Schema) {
	aggregate, ok := s.Aggregate()
	if !ok {
		return
	}
	switch {
	case strings.Contains(aggregate, "-partition-"):
		l.atType(s, "Name it without \"-partition-\".", "belongs to the aggregate %q; Pulsar refuses partitioned topics with -partition- in their names", aggregate)
	case strings.HasPrefix(aggregate, "__"):
		l.atType(s, "Name it without the leading underscores.", "belongs to the aggregate %q; Pulsar names its own topics with __", aggregate)
	case strings.Trim(aggregate, ".") == "":
		l.atType(s, "Name it after the aggregate: \"aggregate\": \"order\".", "belongs to the aggregate %q, which is a folder in the addresses of Pulsar's admin interface", aggregate)
	}
}

func aliasAmbiguous(l *linter) {
	first := make(map[string]*schemas.Schema)
	for _, s := range l.catalog.Types() {
		for _, alias := range slices.Compact(slices.Sorted(slices.Values(s.Aliases))) {
			if other := first[alias]; other != nil {
				l.atType(s, "Keep the alias at the one that was called "+alias+".", "has the alias %s, and so has %s", alias, other.FullName())
				continue
			}
			first[alias] = s
		}
	}
}
