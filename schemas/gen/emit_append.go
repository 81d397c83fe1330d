package gen

import (
	"fmt"
	"strings"

	"github.com/runnel-cdc/runnel/schemas"
)

// emitAppendMethods writes AppendAvro, and appendAvro that fields of other
// records call: on the pointer, so that nothing is copied on the way down.
func (p *plan) emitAppendMethods(src *source, s *schemas.Schema) {
	name := p.goName(s)
	e := &appender{plan: p, src: newSource()}
	for _, f := range s.Fields {
		e.value(f.Type, "v."+p.fields[f], path{{"At", fmt.Sprintf("%q", f.Name)}}, 0)
	}
	depth, first := p.depthParam(s), ""
	if depth != "" {
		first = ", 0"
	}
	src.p("// AppendAvro appends v in Avro binary. An error names the field, and returns dst as it was.")
	src.p("func (v %s) AppendAvro(dst []byte) ([]byte, error) {", name)
	src.p("out, err := v.appendAvro(dst%s)\nif err != nil {\nreturn dst, err\n}\nreturn out, nil\n}\n", first)
	src.p("func (v *%s) appendAvro(dst []byte%s) ([]byte, error) {", name, depth)
	if p.cycles[s.FullName()] {
		src.use(avroPath)
		src.p("if err := avro.CheckDepth(depth); err != nil {\nreturn dst, err\n}")
	}
	if e.fails {
		src.p("var err error")
	}
	src.take(e.src)
	src.p("return dst, nil\n}\n")
}

// appender writes the statements that append values to dst.
type appender struct {
	*plan
	src   *source
	fails bool // some statement assigns err
}

// path leads from the record to a value; each element is a call that puts
// itself before an error's path.
type path []struct{ call, arg string }

// wrap returns err with the path before its own, outermost last.
func (a path) wrap() string {
	expr := "err"
	for i := len(a) - 1; i >= 0; i-- {
		expr = fmt.Sprintf("avro.%s(%s, %s)", a[i].call, expr, a[i].arg)
	}
	return expr
}

func (a path) with(call, arg string) path {
	return append(a[:len(a):len(a)], struct{ call, arg string }{call, arg})
}

// value appends x, an addressable expression of the Go type of s. Level makes
// the names of loop variables unique.
func (e *appender) value(s *schemas.Schema, x string, at path, level int) {
	if sc, ok := scalarOf(s); ok {
		e.src.use(avroPath)
		call := fmt.Sprintf("avro.Append%s(dst, %s%s)", sc.append, bare(x), sc.args)
		if sc.fallible {
			e.try(call, at)
		} else {
			e.src.p("dst = %s", call)
		}
		return
	}
	switch s.Type {
	case schemas.Fixed:
		e.src.p("dst = append(dst, %s[:]...)", x)
	case schemas.Enum:
		e.try(bare1(x)+".appendAvro(dst)", at)
	case schemas.Record:
		e.try(fmt.Sprintf("%s.appendAvro(dst%s)", bare1(x), e.depthArg(s, at)), at)
	case schemas.Array:
		e.array(s, x, at, level)
	case schemas.Map:
		e.mapping(s, x, at, level)
	case schemas.Union:
		e.union(s, x, at, level)
	}
}

// try assigns the result of a call that may fail.
func (e *appender) try(call string, at path) {
	e.fails = true
	e.src.use(avroPath)
	e.src.p("if dst, err = %s; err != nil {\nreturn dst, %s\n}", call, at.wrap())
}

func (e *appender) array(s *schemas.Schema, x string, at path, level int) {
	e.src.use(avroPath)
	if e.leastSize(s.Items) == 0 {
		e.fails = true
		e.src.p("if err = avro.CheckEmptyItems(len(%s)); err != nil {\nreturn dst, %s\n}", x, at.wrap())
	}
	e.src.p("if len(%s) > 0 {\ndst = avro.AppendLong(dst, int64(len(%s)))", x, x)
	if usesValue(s.Items) {
		i := fmt.Sprintf("i%d", level)
		e.src.p("for %s := range %s {", i, x)
		e.value(s.Items, x+"["+i+"]", at.with("AtIndex", i), level+1)
		e.src.p("}")
	} else if e.leastSize(s.Items) > 0 { // a union of nothing but null
		e.src.p("for range %s {", x)
		e.value(s.Items, "", at, level+1)
		e.src.p("}")
	}
	e.src.p("}\ndst = avro.AppendLong(dst, 0)")
}

func (e *appender) mapping(s *schemas.Schema, x string, at path, level int) {
	e.src.use(avroPath)
	k, y := fmt.Sprintf("k%d", level), fmt.Sprintf("y%d", level)
	e.src.p("if len(%s) > 0 {\ndst = avro.AppendLong(dst, int64(len(%s)))", x, x)
	e.src.p("var keys [16]string")
	e.src.p("for _, %s := range avro.SortedKeys(keys[:0], %s) {", k, x)
	at = at.with("AtKey", k)
	e.try(fmt.Sprintf("avro.AppendString(dst, %s)", k), at)
	if usesValue(s.Items) {
		e.src.p("%s := %s[%s]", y, x, k)
		e.value(s.Items, y, at, level+1)
	} else {
		e.value(s.Items, "", at, level+1)
	}
	e.src.p("}\n}\ndst = avro.AppendLong(dst, 0)")
}

func (e *appender) union(s *schemas.Schema, x string, at path, level int) {
	e.src.use(avroPath)
	other, index, isNullable := nullable(s)
	switch {
	case e.unions[s] != nil:
		e.try(fmt.Sprintf("%s(dst, %s%s)", e.unions[s].append, bare(x), e.depthArg(s, at)), at)
	case isNullable:
		e.src.p("if %s == nil {\ndst = avro.AppendLong(dst, %d)\n} else {\ndst = avro.AppendLong(dst, %d)", bare(x), 1-index, index)
		if !nilable(other) {
			x = "(*" + bare(x) + ")"
		}
		e.value(other, x, at, level)
		e.src.p("}")
	default: // one branch
		e.src.p("dst = avro.AppendLong(dst, 0)")
		e.value(s.Branches[0], x, at, level)
	}
}

// emitSealedAppend writes the function that appends the branch an interface
// holds. A pointer satisfies the interface just as well: the function calls itself
// with what it points to, so that no branch is written out twice, which unions
// inside each other would double with every level. (Nothing escapes: it stays on
// the stack.)
func (p *plan) emitSealedAppend(src *source, u *sealed) {
	src.use(avroPath)
	e := &appender{plan: p, src: newSource()}
	for _, br := range u.branches {
		value := "b"
		if br.wrapped {
			value = "b.Value"
		}
		e.src.p("case %s:\ndst = avro.AppendLong(dst, %d)", br.goType, br.index)
		e.value(br.schema, value, nil, 0)
		e.src.p("case *%s:", br.goType)
		e.src.p("if b == nil {\nreturn dst, avro.Invalid(\"a nil *%s\")\n}", br.goType)
		e.src.p("return %s(dst, *b%s)", u.append, p.depthArg(u.union, nil))
	}
	src.p("// %s appends the branch that v holds.", u.append)
	src.p("func %s(dst []byte, v %s%s) ([]byte, error) {", u.append, u.name, p.depthParam(u.union))
	if e.fails {
		src.p("var err error")
	}
	src.p("switch b := v.(type) {")
	src.take(e.src)
	if len(u.branches) < len(u.union.Branches) {
		src.p("case nil:\ndst = avro.AppendLong(dst, %d)", nullIndex(u.union))
	}
	src.p("default:\nreturn dst, avro.Invalid(\"no branch of %s is set\")\n}\nreturn dst, nil\n}\n", u.name)
}

// take appends what another source holds.
func (s *source) take(other *source) {
	s.body.Write(other.body.Bytes())
	for path := range other.imports {
		s.use(path)
	}
}

// depthArg hands the depth on to what counts it: for each element of the path,
// which is an array or map on the way, or the field of a record, one deeper.
func (p *plan) depthArg(s *schemas.Schema, at path) string {
	switch {
	case !p.isDeep(s):
		return ""
	case len(at) == 0:
		return ", depth"
	}
	return fmt.Sprintf(", depth+%d", len(at))
}

// depthParam declares what depthArg gives.
func (p *plan) depthParam(s *schemas.Schema) string {
	if p.isDeep(s) {
		return ", depth int"
	}
	return ""
}

// usesValue tells whether appending s looks at the value.
func usesValue(s *schemas.Schema) bool {
	if s.Type == schemas.Union && len(s.Branches) == 1 {
		return usesValue(s.Branches[0])
	}
	return s.Type != schemas.Null
}

func nullIndex(s *schemas.Schema) int {
	for i, b := range s.Branches {
		if b.Type == schemas.Null {
			return i
		}
	}
	return -1
}

// bare drops the parentheses of (*x) where nothing follows it.
func bare(x string) string {
	if strings.HasPrefix(x, "(*") && strings.HasSuffix(x, ")") {
		return x[1 : len(x)-1]
	}
	return x
}

// bare1 drops the dereference of (*x) before a method call.
func bare1(x string) string { return strings.TrimPrefix(bare(x), "*") }
