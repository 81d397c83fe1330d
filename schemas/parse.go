package schemas

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/runnel-cdc/runnel/internal/nearest"
)

// Bounds of a schema file. A topic's schema holds all its events, so the size
// is generous; a person's file is a few kilobytes.
const (
	maxSchemaBytes  = 4 << 20
	maxSchemaDepth  = 500      // of JSON
	maxSchemaFaults = 100      // reported at once
	maxFixedSize    = 16 << 20 // bytes
	maxSchemaTypes  = 4096     // named types of one schema, or of a catalog
)

// Parse reads one self-contained Avro schema (Avro 1.12, "Schema Declaration").
// The file's name is used in messages only and may be empty.
//
// It is stricter than most libraries: a key given twice, an invalid default, an
// alias that is a live name, a type without values (an enum without symbols, a
// record that always contains itself) are errors. Types may be used before they are
// defined.
//
// It accepts what came with Avro 1.12: a default of any branch of a union (see
// Field.DefaultBranch), types named after Avro's complex types, aliases that are
// no names, metadata beside a reference (which is dropped). Load, ParseEventType and ParseTopicSchema do not, since their schemas
// go to readers of earlier versions: Pulsar 4.0 accepts such a schema once and then
// refuses every later one.
//
// The error is one *fault.Error, or several joined, each with file:line:col.
func Parse(src []byte, file string) (*Schema, error) { return parse(newParser(), src, file) }

// parseStrict is Parse for schemas that are to be registered: what Avro 1.11
// does not allow is an error.
func parseStrict(src []byte, file string) (*Schema, error) {
	p := newParser()
	p.strict = true
	return parse(p, src, file)
}

func parse(p *parser, src []byte, file string) (*Schema, error) {
	doc := p.add(src, file)
	p.finish()
	if len(p.errs) == 1 {
		return nil, p.errs[0]
	}
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	return doc.schema, nil
}

// parser reads one or more documents that may refer to each other's types. It
// works in passes, so that neither the order of files nor that of definitions
// matters: names are declared, then types built, then defaults encoded, which
// needs the types.
type parser struct {
	docs     []*document
	names    map[string]*Schema
	types    []*Schema // named types in the order of their declaration
	defaults map[*Field]defaultAt
	fields   []*Field // with a default, in order
	errs     []error
	strict   bool        // nothing that Avro 1.11 does not allow
	beside   *neighbours // where missed types may be; nil: nowhere

	defaultWork int  // values of defaults looked at
	laterBranch bool // the default being encoded holds one of a union's later branch
}

type defaultAt struct {
	doc *document
	tok int32
}

func newParser() *parser {
	return &parser{names: make(map[string]*Schema), defaults: make(map[*Field]defaultAt)}
}

// add scans a document and declares its names. It returns nil after an error
// that leaves nothing to go on with.
func (p *parser) add(src []byte, file string) *document {
	if len(src) > maxSchemaBytes {
		p.fail(ErrSchemaTooLarge, Pos{File: file}, "%d bytes, more than %d", len(src), maxSchemaBytes)
		return nil
	}
	doc, err := newDocument(src, file)
	if err != nil {
		code := ErrSyntax
		if err.tooDeep {
			code = ErrSchemaTooLarge
		}
		p.fail(code, doc.position(err.off), "%s", err.message)
		return nil
	}
	p.docs = append(p.docs, doc)
	p.declare(doc, 0, "")
	return doc
}

// requireNamed refuses a catalog's file that is not one named type.
func (p *parser) requireNamed(doc *document) {
	if doc.declared[0] == nil {
		p.fail(ErrSyntax, doc.pos(0), "a file of the catalog must define one record, enum or fixed")
	}
}

// finish builds what was added.
func (p *parser) finish() {
	for i := 0; i < len(p.docs); i++ { // what is built may bring neighbours
		p.docs[i].schema = p.build(p.docs[i], 0, "")
	}
	if len(p.errs) > 0 {
		return // what follows needs whole types
	}
	for _, s := range p.types {
		p.checkAliases(s)
		s.makeIndex()
	}
	p.checkBounded()
	if len(p.errs) == 0 {
		p.encodeDefaults()
	}
}

// declare finds the definitions of named types at and below token i, and
// registers their names.
func (p *parser) declare(doc *document, i int32, space string) {
	switch doc.kind(i) {
	case tokArray:
		for _, branch := range doc.children(i) {
			p.declare(doc, branch, space)
		}
	case tokObject:
		o := p.object(doc, i)
		switch typ := o.typeName(); typ {
		case "record", "enum", "fixed":
			s := p.declareNamed(o, typ, space)
			if typ == "record" {
				p.declareFields(o, s.Namespace)
			}
		case "array":
			p.declareAt(o, "items", space)
		case "map":
			p.declareAt(o, "values", space)
		}
	}
}

func (p *parser) declareAt(o *object, key, space string) {
	if at, ok := o.get(key); ok {
		p.declare(o.doc, at, space)
	}
}

func (p *parser) declareFields(o *object, space string) {
	at, ok := o.get("fields")
	if !ok || o.doc.kind(at) != tokArray {
		return // reported when built
	}
	for _, field := range o.doc.children(at) {
		if o.doc.kind(field) == tokObject {
			p.declareAt(&object{doc: o.doc, members: o.doc.tape.members(field), used: map[string]bool{}}, "type", space)
		}
	}
}

// typeName returns the object's "type" when it is a string.
func (o *object) typeName() string {
	at, ok := o.get("type")
	if !ok || o.doc.kind(at) != tokString {
		return ""
	}
	return o.doc.tape.text(at)
}

var namedTypes = map[string]Type{"record": Record, "enum": Enum, "fixed": Fixed}

func (p *parser) declareNamed(o *object, typ, space string) *Schema {
	s := &Schema{Type: namedTypes[typ], Namespace: space, Pos: o.doc.pos(o.self)}
	o.doc.declared[o.self] = s
	name, at, ok := p.str(o, "name")
	if !ok {
		if at == 0 {
			p.fail(ErrSyntax, s.Pos, "a %s needs a \"name\"", typ)
		}
		return s
	}
	if given, _, ok := p.str(o, "namespace"); ok {
		s.Namespace = given
	}
	s.Name = name
	if dot := strings.LastIndexByte(name, '.'); dot >= 0 {
		s.Namespace, s.Name = name[:dot], name[dot+1:]
	}
	where := o.doc.pos(at)
	switch {
	case !validName(s.Name) || s.Namespace != "" && !validNamespace(s.Namespace):
		p.fail(ErrInvalidName, where, "%q is not a name", s.FullName())
		return s
	case primitives[s.Name] != 0, p.strict && reservedNames[s.Name] != 0:
		p.fail(ErrInvalidName, where, "a type must not be named after Avro's own type %q", s.Name)
		return s
	}
	full := s.FullName()
	if first, ok := p.names[full]; ok {
		p.fail(ErrDuplicateName, where, "%s is already defined at %s", full, first.Pos)
		return s
	}
	if p.types = append(p.types, s); len(p.types) == maxSchemaTypes+1 {
		p.fail(ErrSchemaTooLarge, where, "more than %d named types", maxSchemaTypes)
	}
	p.names[full] = s
	return s
}

var primitives = map[string]Type{
	"null": Null, "boolean": Boolean, "int": Int, "long": Long, "float": Float, "double": Double,
	"bytes": Bytes, "string": String,
}

// reservedNames cannot be given to a type, in no namespace; since Avro 1.12 those
// of complex types can.
var reservedNames = map[string]Type{
	"null": Null, "boolean": Boolean, "int": Int, "long": Long, "float": Float, "double": Double,
	"bytes": Bytes, "string": String, "record": Record, "enum": Enum, "array": Array, "map": Map,
	"fixed": Fixed, "union": Union,
}

func validName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '_' && (c|0x20 < 'a' || c|0x20 > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

func validNamespace(s string) bool {
	for _, part := range strings.Split(s, ".") {
		if !validName(part) {
			return false
		}
	}
	return true
}

// build returns the schema at token i; nil after an error.
func (p *parser) build(doc *document, i int32, space string) *Schema {
	switch doc.kind(i) {
	case tokString:
		return p.reference(doc, i, space)
	case tokArray:
		return p.buildUnion(doc, i, space)
	case tokObject:
		return p.buildObject(doc, i, space)
	}
	p.fail(ErrSyntax, doc.pos(i), "expected a schema (a name, an object or an array), found %s", doc.kind(i))
	return nil
}

func (p *parser) reference(doc *document, i int32, space string) *Schema {
	name := doc.tape.text(i)
	if t, ok := primitives[name]; ok {
		return &Schema{Type: t, Pos: doc.pos(i)}
	}
	// As Java does: a bare name that the namespace does not hold may be one
	// without a namespace.
	if !strings.Contains(name, ".") && space != "" {
		if s := p.named(space + "." + name); s != nil {
			return s
		}
	}
	if s := p.named(name); s != nil {
		return s
	}
	if len(p.errs) >= maxSchemaFaults {
		return nil // not to look for what was meant a million times
	}
	e := ErrUnresolvedReference.New("no type is named %q", name).At("%s", doc.pos(i))
	if t, ok := reservedNames[name]; ok {
		e = e.Fix("Make the %s an object of its own: \"type\": {\"type\": %q, ...}", t, name)
	} else if near := p.nearestType(name); near != "" {
		e = e.Fix("Did you mean %q?", near)
	}
	p.report(e)
	return nil
}

// nearestType finds the type that was probably meant: the same name in another
// namespace, or a misspelling.
func (p *parser) nearestType(name string) string {
	var all []string
	for _, s := range p.types {
		if s.Name == name[strings.LastIndexByte(name, '.')+1:] {
			return s.FullName()
		}
		all = append(all, s.FullName())
	}
	return nearest.Of(name, all)
}

func (p *parser) buildUnion(doc *document, i int32, space string) *Schema {
	u := &Schema{Type: Union, Pos: doc.pos(i)}
	seen := make(map[string]bool)
	for _, at := range doc.children(i) {
		b := p.build(doc, at, space)
		if b == nil {
			continue
		}
		name := b.FullName()
		if b.Name == "" {
			name += " " // a type may be named array
		}
		switch {
		case b.Type == Union:
			p.fail(ErrInvalidUnion, doc.pos(at), "a union must not directly hold a union")
		case seen[name]:
			p.fail(ErrInvalidUnion, doc.pos(at), "the union holds %s twice", b.FullName())
		default:
			seen[name] = true
		}
		u.Branches = append(u.Branches, b)
	}
	if doc.tape.toks[i].count == 0 {
		p.fail(ErrInvalidUnion, u.Pos, "a union needs a branch")
	}
	return u
}

func (p *parser) buildObject(doc *document, i int32, space string) *Schema {
	// Keys given twice were reported when names were declared.
	o := &object{doc: doc, self: i, members: doc.tape.members(i), used: make(map[string]bool)}
	at, ok := o.get("type")
	if !ok || doc.kind(at) != tokString {
		p.fail(ErrSyntax, doc.pos(i), "a schema object needs a \"type\" that is a name")
		return nil
	}
	typ := doc.tape.text(at)
	if s := doc.declared[i]; s != nil {
		p.buildNamed(o, s)
		return s
	}
	s := &Schema{Pos: doc.pos(i)}
	switch t, primitive := primitives[typ]; {
	case primitive:
		s.Type = t
	case typ == "array" || typ == "map":
		s.Type = reservedNames[typ]
		key := map[Type]string{Array: "items", Map: "values"}[s.Type]
		items, ok := o.get(key)
		if !ok {
			p.fail(ErrSyntax, s.Pos, "%s needs %q", typ, key)
			return nil
		}
		s.Items = p.build(doc, items, space)
	default:
		for _, m := range o.members {
			if m.key != "type" && (p.strict || slices.Contains(schemaAttributes, m.key)) {
				p.fail(ErrSyntax, s.Pos, "a reference to %q cannot carry the attribute %q", typ, m.key)
				return nil
			}
		}
		return p.reference(doc, at, space) // metadata has no place to be kept
	}
	p.finishType(o, s)
	return s
}

// schemaAttributes are those that would say something else than the type that is
// referred to.
var schemaAttributes = []string{
	"name", "namespace", "aliases", "fields", "symbols", "default", "items", "values", "size", "order", "logicalType", "precision", "scale",
}

// finishType reads what every type may carry: logical type, doc, properties.
func (p *parser) finishType(o *object, s *Schema) {
	s.Doc, _, _ = p.str(o, "doc")
	p.logical(o, s)
	s.Props = o.rest()
}

// integer returns the integer at key, if it is there and is one.
func (o *object) integer(key string) (n int, at int32, ok bool) {
	at, ok = o.get(key)
	if !ok || o.doc.kind(at) != tokNumber {
		return 0, at, false
	}
	n, err := strconv.Atoi(string(o.doc.tape.raw(at)))
	return n, at, err == nil && n <= math.MaxInt32
}
