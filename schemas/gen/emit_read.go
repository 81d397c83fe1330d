package gen

import (
	"fmt"

	"github.com/runnel-cdc/runnel/schemas"
)

// emitReadMethods writes DecodeAvro, and readAvro that fields of other records
// call. Every target starts as a zero value.
func (p *plan) emitReadMethods(src *source, s *schemas.Schema) {
	name := p.goName(s)
	e := &readEmitter{plan: p, src: src}
	src.use(avroPath)
	src.p("// DecodeAvro reads v from exactly the bytes of one value. An error names the field, and leaves v as it was.")
	src.p("func (v *%s) DecodeAvro(data []byte) error {", name)
	src.p("var x %s\nr := avro.NewReader(data)\nx.readAvro(&r)", name)
	src.p("if err := r.Close(); err != nil {\nreturn err\n}\n*v = x\nreturn nil\n}\n")
	src.p("func (v *%s) readAvro(r *avro.Reader) {", name)
	if p.cycles[s.FullName()] {
		src.p("if !r.Enter() {\nreturn\n}\ndefer r.Leave()")
	}
	for _, f := range s.Fields {
		if f.Type.Type != schemas.Null {
			e.value(f.Type, "v."+p.fields[f], 0)
			src.p("if r.Failed(%q) {\nreturn\n}", f.Name)
		}
	}
	src.p("}\n")
}

// readEmitter writes the statements that read values from r.
type readEmitter struct {
	*plan
	src *source
}

// value reads into x, an assignable expression of the Go type of s.
func (e *readEmitter) value(s *schemas.Schema, x string, level int) {
	if sc, ok := scalarOf(s); ok {
		e.src.p("%s = %s", bare(x), sc.readCall())
		return
	}
	switch s.Type {
	case schemas.Fixed:
		e.src.p("r.Fixed(%s[:])", x)
	case schemas.Enum, schemas.Record:
		e.src.p("%s.readAvro(r)", bare1(x))
	case schemas.Array:
		e.array(s, x, level)
	case schemas.Map:
		e.mapping(s, x, level)
	case schemas.Union:
		e.union(s, x, level)
	}
}

func (e *readEmitter) array(s *schemas.Schema, x string, level int) {
	e.src.use("slices")
	n, y := fmt.Sprintf("n%d", level), fmt.Sprintf("x%d", level)
	size := e.leastSize(s.Items)
	e.src.p("%s = %s{}", x, e.goType(e.src, s))
	e.src.p("for %s := r.Block(%d); %s > 0; %s = r.Block(%d) {", n, size, n, n, size)
	e.src.p("%s = slices.Grow(%s, %s)", x, x, n)
	e.src.p("for range %s {", n)
	e.item(s.Items, y, level)
	e.src.p("if r.FailedIndex(len(%s)) {\nbreak\n}", x)
	e.src.p("%s = append(%s, %s)\n}\n}", x, x, y)
}

func (e *readEmitter) mapping(s *schemas.Schema, x string, level int) {
	n, k, y := fmt.Sprintf("n%d", level), fmt.Sprintf("k%d", level), fmt.Sprintf("x%d", level)
	size := 1 + e.leastSize(s.Items)
	e.src.p("%s = %s{}", x, e.goType(e.src, s))
	e.src.p("for %s := r.Block(%d); %s > 0; %s = r.Block(%d) {", n, size, n, n, size)
	e.src.p("for range %s {\n%s := r.String()", n, k)
	e.item(s.Items, y, level)
	e.src.p("if r.FailedKey(%s) {\nbreak\n}", k)
	e.src.p("%s[%s] = %s\n}\n}", x, k, y)
}

// item declares y and reads into it.
func (e *readEmitter) item(s *schemas.Schema, y string, level int) {
	if sc, ok := scalarOf(s); ok {
		e.src.p("%s := %s", y, sc.readCall())
		return
	}
	if u := e.unions[s]; u != nil {
		e.src.p("%s := %s(r)", y, u.read)
		return
	}
	e.src.p("var %s %s", y, e.goType(e.src, s))
	e.value(s, y, level+1)
}

func (e *readEmitter) union(s *schemas.Schema, x string, level int) {
	if u := e.unions[s]; u != nil {
		e.src.p("%s = %s(r)", bare(x), u.read)
		return
	}
	other, index, ok := nullable(s)
	if !ok { // one branch
		if !usesValue(s) {
			e.src.p("r.Index(1)")
			return
		}
		e.src.p("if r.Index(1) == 0 {")
		e.value(s.Branches[0], x, level)
		e.src.p("}")
		return
	}
	e.src.p("if r.Index(2) == %d {", index)
	if !nilable(other) {
		e.src.p("%s = new(%s)", bare(x), e.goType(e.src, other))
		x = "(*" + bare(x) + ")"
	}
	e.value(other, x, level)
	e.src.p("}")
}

// emitSealedRead writes the function that reads a value of an interface.
func (p *plan) emitSealedRead(src *source, u *sealed) {
	e := &readEmitter{plan: p, src: src}
	src.p("// %s reads the branch that follows; nil is null, or a failure.", u.read)
	src.p("func %s(r *avro.Reader) %s {", u.read, u.name)
	src.p("switch r.Index(%d) {", len(u.union.Branches))
	for _, br := range u.branches {
		src.p("case %d:\nvar b %s", br.index, br.goType)
		if br.wrapped {
			e.value(br.schema, "b.Value", 0)
		} else {
			e.value(br.schema, "b", 0)
		}
		src.p("return b")
	}
	src.p("}\nreturn nil\n}\n")
}
