package gen

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/runnel-cdc/runnel/schemas"
)

// emitRecord writes a struct, its methods and the interfaces of its fields.
func (p *plan) emitRecord(src *source, s *schemas.Schema) {
	name := p.goName(s)
	event := p.events[s.FullName()]
	about := fmt.Sprintf("%s is the record %s.", name, s.FullName())
	if event != nil {
		about = fmt.Sprintf("%s is the event %s of the aggregate %q.", name, s.FullName(), event.AggregateType)
	}
	src.comment(about + "\n\n" + s.Doc + deprecated(s.Deprecated()))
	src.p("type %s struct {", name)
	for i, f := range s.Fields {
		text := sentence(f.Doc, note(f.Type)) + deprecated(f.Deprecated())
		if i > 0 && strings.TrimSpace(text) != "" {
			src.p("")
		}
		src.comment(text)
		src.p("%s %s", p.fields[f], p.goType(src, f.Type))
	}
	src.p("}\n")
	if event != nil {
		p.emitEventType(src, s, event)
	}
	p.emitMarkers(src, s)
	p.emitAppendMethods(src, s)
	p.emitReadMethods(src, s)
	for _, u := range p.owned[s.FullName()] {
		p.emitSealed(src, u)
	}
}

func (p *plan) emitEventType(src *source, s *schemas.Schema, event *schemas.EventType) {
	variable := p.eventVar(s)
	src.use("sync")
	src.use(schemasPath)
	src.p("// EventType describes the event; it works on the zero value.")
	src.p("func (%s) EventType() *schemas.EventType { return %s() }\n", p.goName(s), variable)
	src.p("// %s parses the schema when it is first asked for.", variable)
	src.p("var %s = sync.OnceValue(func() *schemas.EventType {", variable)
	src.p("return schemas.MustEventType(%s)", quote(event.JSON))
	src.p("})\n")
}

// emitMarkers makes a named type a branch of the interfaces it is one of.
func (p *plan) emitMarkers(src *source, s *schemas.Schema) {
	for _, marker := range p.markers[s.FullName()] {
		src.p("func (%s) is%s() {}\n", p.goName(s), marker)
	}
}

// emitSealed writes an interface, the wrappers of its unnamed branches, and the
// two functions that every place of the union calls.
func (p *plan) emitSealed(src *source, u *sealed) {
	var branches []string
	for _, b := range u.branches {
		branches = append(branches, b.goType)
	}
	empty := "Nil is an error."
	if len(u.branches) < len(u.union.Branches) {
		empty = "Nil is null."
	}
	src.comment(fmt.Sprintf("%s is a value of %s: one of %s. Decoding gives values, never pointers. %s",
		u.name, u.place, strings.Join(branches, ", "), empty))
	src.p("type %s interface { is%s() }\n", u.name, u.name)
	for _, b := range u.branches {
		if b.wrapped {
			src.comment(sentence(fmt.Sprintf("%s is the %s branch of %s.", b.goType, b.schema.FullName(), u.name), note(b.schema)))
			src.p("type %s struct { Value %s }\n", b.goType, p.goType(src, b.schema))
			src.p("func (%s) is%s() {}\n", b.goType, u.name)
		}
	}
	p.emitSealedAppend(src, u)
	p.emitSealedRead(src, u)
}

// emitEnum writes a typed string, its constants and methods.
func (p *plan) emitEnum(src *source, s *schemas.Schema) {
	name, constants := p.goName(s), p.symbols[s.FullName()]
	table := p.symbolsVar(s)
	src.use(avroPath)
	src.comment(fmt.Sprintf("%s is the enum %s. The zero value is not a symbol.\n\n%s", name, s.FullName(), s.Doc) + deprecated(s.Deprecated()))
	src.p("type %s string\n", name)
	src.p("// The symbols of %s.", name)
	src.p("const (")
	for i, constant := range constants {
		src.p("%s %s = %q", constant, name, s.Symbols[i])
	}
	src.p(")\n")
	src.p("// %s are in the schema's order, which is how they are encoded.", table)
	src.p("var %s = [...]%s{%s}\n", table, name, strings.Join(constants, ", "))
	src.p("// Valid tells whether v is a symbol of the enum.")
	src.p("func (v %s) Valid() bool { return v.index() >= 0 }\n", name)
	src.p("func (v %s) index() int64 {\nswitch v {", name)
	for i, constant := range constants {
		src.p("case %s:\nreturn %d", constant, i)
	}
	src.p("}\nreturn -1\n}\n")
	p.emitMarkers(src, s)
	src.p("func (v %s) appendAvro(dst []byte) ([]byte, error) {", name)
	src.p("i := v.index()\nif i < 0 {")
	src.p("return dst, avro.Invalid(\"%%q is not a symbol of %s\", string(v))\n}", name)
	src.p("return avro.AppendLong(dst, i), nil\n}\n")
	src.p("func (v *%s) readAvro(r *avro.Reader) {", name)
	src.p("if i := r.Index(len(%s)); i >= 0 {\n*v = %s[i]\n}\n}", table, table)
}

func (p *plan) emitFixed(src *source, s *schemas.Schema) {
	src.comment(fmt.Sprintf("%s is the fixed %s.\n\n%s", p.goName(s), s.FullName(), s.Doc) + deprecated(s.Deprecated()))
	src.p("type %s [%d]byte\n", p.goName(s), s.Size)
	p.emitMarkers(src, s)
}

// quote prefers a raw string, in which JSON can be read.
func quote(text string) string {
	if strconv.CanBackquote(text) {
		return "`" + text + "`"
	}
	return strconv.Quote(text)
}
