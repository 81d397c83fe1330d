package gen

import (
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/schemas"
)

// plan is everything decided before a line is written.
//
// Invariants:
//
//  1. Named types are told apart by full name, never by pointer; unnamed ones,
//     unions in particular, by the pointer found below the named type.
//  2. Every package-level identifier was claimed once in one set, so that no
//     two declarations clash, and in one order, so that they never move.
type plan struct {
	types  []*schemas.Schema // records, enums and fixed that get a Go type, by full name
	byName map[string]*schemas.Schema
	events map[string]*schemas.EventType // by full name

	names   map[string]string           // Go name by full name
	fields  map[*schemas.Field]string   // Go name
	symbols map[string][]string         // constants of an enum, by full name
	unions  map[*schemas.Schema]*sealed // unions that become interfaces
	owned   map[string][]*sealed        // those declared with a record, by full name
	markers map[string][]string         // interfaces that a named type is a branch of
	sizes   map[string]int              // least bytes of a record, by full name
	cycles  map[string]bool             // records that may contain themselves
	deep    map[string]bool             // records that contain such records, or are one
}

// sealed is a union that becomes an interface.
type sealed struct {
	name     string
	place    string // Record.field, for its comment
	append   string // the function that appends a value of it
	read     string // the one that reads one
	union    *schemas.Schema
	branches []branch // those but null, in the union's order
}

// branch is one implementation of a sealed interface.
type branch struct {
	index   int
	schema  *schemas.Schema
	goType  string
	wrapped bool // goType is struct{Value}, declared with the interface
}

// methodNames are what generated structs have as methods and so not as fields.
var methodNames = []string{"EventType", "AppendAvro", "DecodeAvro"}

func newPlan(types []*schemas.Schema, events []*schemas.EventType) *plan {
	p := &plan{
		byName:  make(map[string]*schemas.Schema),
		events:  make(map[string]*schemas.EventType),
		fields:  make(map[*schemas.Field]string),
		symbols: make(map[string][]string),
		unions:  make(map[*schemas.Schema]*sealed),
		owned:   make(map[string][]*sealed),
		markers: make(map[string][]string),
	}
	for _, e := range events {
		p.events[e.Name] = e
		p.collect(e.Schema)
	}
	for _, s := range types {
		p.collect(s)
	}
	for _, s := range p.byName {
		p.types = append(p.types, s)
	}
	slices.SortFunc(p.types, func(a, b *schemas.Schema) int { return strings.Compare(a.FullName(), b.FullName()) })

	taken := names{"EventTypes": true}
	p.names = typeNames(p.types, taken)
	for _, s := range p.types {
		taken[p.eventVar(s)], taken[p.symbolsVar(s)] = true, true
	}
	for _, s := range p.types {
		switch s.Type {
		case schemas.Record:
			p.nameFields(s, taken)
		case schemas.Enum:
			for _, symbol := range s.Symbols {
				p.symbols[s.FullName()] = append(p.symbols[s.FullName()], taken.claim(p.goName(s)+exportedSymbol(symbol)))
			}
		}
	}
	p.findSizes()
	p.findCycles()
	return p
}

// collect finds the named types that get a Go type, below s and s itself.
func (p *plan) collect(s *schemas.Schema) {
	switch s.Type {
	case schemas.Enum, schemas.Fixed:
		if isNamed(s) {
			p.byName[s.FullName()] = s
		}
	case schemas.Record:
		if p.byName[s.FullName()] != nil {
			return
		}
		p.byName[s.FullName()] = s
		for _, f := range s.Fields {
			p.collect(f.Type)
		}
	case schemas.Array, schemas.Map:
		p.collect(s.Items)
	case schemas.Union:
		for _, b := range s.Branches {
			p.collect(b)
		}
	}
}

func (p *plan) nameFields(s *schemas.Schema, taken names) {
	fields := make(names)
	for _, m := range methodNames {
		fields[m] = true
	}
	for _, f := range s.Fields {
		p.fields[f] = fields.claim(exported(f.Name))
		p.nameUnions(s, f.Type, p.goName(s)+p.fields[f], p.goName(s)+"."+p.fields[f], taken)
	}
}

// nameUnions names the interfaces in an unnamed type by where they are used.
func (p *plan) nameUnions(owner, s *schemas.Schema, name, place string, taken names) {
	switch s.Type {
	case schemas.Array:
		p.nameUnions(owner, s.Items, name+"Item", place+"[]", taken)
	case schemas.Map:
		p.nameUnions(owner, s.Items, name+"Value", place+"[key]", taken)
	case schemas.Union:
		if p.unions[s] != nil {
			return
		}
		if isSealed(s) {
			p.addSealed(owner, s, name, place, taken)
			return
		}
		for _, b := range s.Branches {
			p.nameUnions(owner, b, name, place, taken)
		}
	}
}

func (p *plan) addSealed(owner, s *schemas.Schema, name, place string, taken names) {
	u := &sealed{name: taken.claim(name), place: place, union: s}
	u.append, u.read = taken.claim("append"+u.name), taken.claim("read"+u.name)
	p.unions[s] = u
	p.owned[owner.FullName()] = append(p.owned[owner.FullName()], u)
	for i, b := range s.Branches {
		switch {
		case b.Type == schemas.Null:
		case isNamed(b):
			p.markers[b.FullName()] = append(p.markers[b.FullName()], u.name)
			u.branches = append(u.branches, branch{index: i, schema: b, goType: p.goName(b)})
		default:
			wrapper := taken.claim(u.name + branchName(b))
			u.branches = append(u.branches, branch{index: i, schema: b, goType: wrapper, wrapped: true})
			p.nameUnions(owner, b, wrapper, place+"("+wrapper+")", taken)
		}
	}
}

func (p *plan) goName(s *schemas.Schema) string { return p.names[s.FullName()] }

// eventVar is the variable that holds an event's type, symbolsVar the one with an
// enum's symbols.
func (p *plan) eventVar(s *schemas.Schema) string   { return lowerFirst(p.goName(s)) + "Type" }
func (p *plan) symbolsVar(s *schemas.Schema) string { return lowerFirst(p.goName(s)) + "Symbols" }

// isNamed tells whether s gets a Go type of its own: a fixed that stands for a
// decimal, a uuid or a duration does not.
func isNamed(s *schemas.Schema) bool {
	return s.Type == schemas.Record || s.Type == schemas.Enum || s.Type == schemas.Fixed && s.Logical == schemas.NoLogical
}

// nullable returns the other branch of a union of null and one more type, and
// its index.
func nullable(s *schemas.Schema) (other *schemas.Schema, index int, ok bool) {
	if len(s.Branches) != 2 {
		return nil, 0, false
	}
	for i, b := range s.Branches {
		if b.Type == schemas.Null {
			return s.Branches[1-i], 1 - i, true
		}
	}
	return nil, 0, false
}

// isSealed tells whether a union becomes an interface.
func isSealed(s *schemas.Schema) bool {
	_, _, ok := nullable(s)
	return !ok && len(s.Branches) > 1
}

// nilable tells whether a Go type has a nil of its own to stand for null.
func nilable(s *schemas.Schema) bool {
	return s.Type == schemas.Array || s.Type == schemas.Map || s.Type == schemas.Bytes && s.Logical == schemas.NoLogical
}

var logicalNames = map[schemas.Logical]string{
	schemas.Decimal: "Decimal", schemas.UUID: "UUID", schemas.Date: "Date", schemas.Duration: "Duration",
	schemas.TimeMillis: "TimeMillis", schemas.TimeMicros: "TimeMicros",
	schemas.TimestampMillis: "TimestampMillis", schemas.TimestampMicros: "TimestampMicros", schemas.TimestampNanos: "TimestampNanos",
	schemas.LocalTimestampMillis: "LocalTimestampMillis", schemas.LocalTimestampMicros: "LocalTimestampMicros",
	schemas.LocalTimestampNanos: "LocalTimestampNanos",
}

// branchName ends the name of a wrapper.
func branchName(s *schemas.Schema) string {
	switch {
	case s.Name != "":
		return exported(s.Name)
	case s.Logical != schemas.NoLogical:
		return logicalNames[s.Logical]
	}
	return title(s.Type.String())
}
