package lint

import (
	"fmt"

	"github.com/runnel-cdc/runnel/schemas"
)

// linter is one look at a catalog, rule by rule. It is used by one goroutine.
type linter struct {
	catalog   *schemas.Catalog
	fromTable map[*schemas.Schema]bool
	reach     map[*schemas.Schema]map[*schemas.Schema]bool // see reaches
	rule      *rule                                        // that is looked for
	found     []Finding
}

func newLinter(c *schemas.Catalog) *linter {
	l := &linter{catalog: c, reach: make(map[*schemas.Schema]map[*schemas.Schema]bool)}
	l.fromTable = tableTypes(c)
	return l
}

// spot is a schema where it stands: a named type, or an unnamed one in a field.
type spot struct {
	typ    *schemas.Schema // the named type around it, or itself
	field  *schemas.Field  // of typ; nil when schema is typ
	schema *schemas.Schema
}

// path is the type, or type.field.
func (at spot) path() string {
	if at.field == nil {
		return at.typ.FullName()
	}
	return at.typ.FullName() + "." + at.field.Name
}

func (at spot) pos() schemas.Pos { return at.schema.Pos }

// look shows a named type to the rule, then its fields, then all schemas in them.
func (l *linter) look(s *schemas.Schema) {
	if l.rule.typ != nil {
		l.rule.typ(l, s)
	}
	if l.rule.schema != nil {
		l.rule.schema(l, spot{typ: s, schema: s})
	}
	for _, f := range s.Fields {
		if l.rule.field != nil {
			l.rule.field(l, s, f)
		}
		if l.rule.schema != nil {
			unnamed(f.Type, func(x *schemas.Schema) { l.rule.schema(l, spot{s, f, x}) })
		}
	}
}

// unnamed calls f for s and the schemas in it, without named types.
func unnamed(s *schemas.Schema, f func(*schemas.Schema)) {
	if s.Name != "" {
		return
	}
	f(s)
	for _, b := range s.Branches {
		unnamed(b, f)
	}
	if s.Items != nil {
		unnamed(s.Items, f)
	}
}

// at reports a finding of the rule. The message begins with the path.
func (l *linter) at(where spot, pos schemas.Pos, fix, message string, args ...any) {
	l.found = append(l.found, Finding{
		Rule: l.rule.ID, Severity: l.rule.Severity, Pos: pos, Path: where.path(), typ: where.typ.FullName(),
		Message: where.path() + " " + fmt.Sprintf(message, args...), Fix: fix,
	})
}

// atType and atField report at the place of a named type and of a field.
func (l *linter) atType(s *schemas.Schema, fix, message string, args ...any) {
	l.at(spot{typ: s, schema: s}, s.Pos, fix, message, args...)
}

func (l *linter) atField(s *schemas.Schema, f *schemas.Field, fix, message string, args ...any) {
	l.at(spot{s, f, f.Type}, f.Pos, fix, message, args...)
}

// reaches reports whether a value of a may hold one of b.
func (l *linter) reaches(a, b *schemas.Schema) bool {
	if l.reach[a] == nil {
		l.reach[a] = make(map[*schemas.Schema]bool)
		collect(a, l.reach[a])
	}
	return l.reach[a][b]
}

// collect adds the named types that values of s may hold. s itself is one if it
// is recursive.
func collect(s *schemas.Schema, seen map[*schemas.Schema]bool) {
	for open := []*schemas.Schema{s}; len(open) > 0; {
		s, open = open[len(open)-1], open[:len(open)-1]
		for _, f := range s.Fields {
			named(f.Type, func(t *schemas.Schema) {
				if !seen[t] {
					seen[t] = true
					open = append(open, t)
				}
			})
		}
	}
}

// named calls f for the named types that s is or is made of, without those
// inside them.
func named(s *schemas.Schema, f func(*schemas.Schema)) {
	if s.Name != "" {
		f(s)
		return
	}
	for _, b := range s.Branches {
		named(b, f)
	}
	if s.Items != nil {
		named(s.Items, f)
	}
}
