package schemas

import (
	"encoding/json"
	"fmt"
	"sort"
	"unicode/utf8"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// document is one schema file: its tokens, and where its lines begin.
type document struct {
	file     string
	tape     tape
	lines    []int
	runes    []int             // characters before every 256th byte
	declared map[int32]*Schema // the definitions of named types, by token
	schema   *Schema           // of the whole document
}

func newDocument(src []byte, file string) (*document, *jsonError) {
	doc := &document{file: file, declared: make(map[int32]*Schema), lines: []int{0}}
	runes := 0
	for i, c := range src {
		if i%runesStep == 0 {
			doc.runes = append(doc.runes, runes)
		}
		if utf8.RuneStart(c) {
			runes++
		}
		if c == '\n' {
			doc.lines = append(doc.lines, i+1)
		}
	}
	doc.tape.src = src
	return doc, doc.tape.scan(src, maxSchemaDepth)
}

// position converts a byte offset; columns are counted in characters.
func (d *document) position(off int) Pos {
	line := sort.SearchInts(d.lines, off+1) // the first line that begins after off
	off = min(off, len(d.tape.src))
	return Pos{File: d.file, Line: line, Col: d.runesBefore(off) - d.runesBefore(d.lines[line-1]) + 1}
}

const runesStep = 256

// runesBefore counts characters before a byte. Every type has a position, so that a
// schema of a million bytes on one line must not be read from its start for each.
func (d *document) runesBefore(off int) int {
	if len(d.runes) == 0 {
		return 0
	}
	block := min(off/runesStep, len(d.runes)-1)
	return d.runes[block] + utf8.RuneCount(d.tape.src[block*runesStep:off])
}

// pos is where token i begins.
func (d *document) pos(i int32) Pos {
	start := int(d.tape.toks[i].start)
	if d.tape.toks[i].kind == tokString {
		start-- // its quote
	}
	return d.position(start)
}

// String returns file:line:col, as much of it as is known.
func (p Pos) String() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.File == "":
		return fmt.Sprintf("%d:%d", p.Line, p.Col)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

func (d *document) kind(i int32) tokKind { return d.tape.toks[i].kind }

// children returns the tokens of an array's items.
func (d *document) children(i int32) []int32 {
	out := make([]int32, 0, d.tape.toks[i].count)
	for item, n := i+1, d.tape.toks[i].count; n > 0; n-- {
		out = append(out, item)
		item = d.tape.toks[item].next
	}
	return out
}

// member is a key and a value of an object.
type member struct {
	key       string
	at, value int32 // tokens
}

// members returns an object's members in the order of the text.
func (t *tape) members(i int32) []member {
	out := make([]member, 0, t.toks[i].count)
	for key, n := i+1, t.toks[i].count; n > 0; n-- {
		out = append(out, member{key: t.text(key), at: key, value: key + 1})
		key = t.toks[key+1].next
	}
	return out
}

func (t *tape) sortedMembers(i int32) []member {
	out := t.members(i)
	sort.SliceStable(out, func(a, b int) bool { return out[a].key < out[b].key })
	return out
}

// object is a JSON object of a schema, with a record of what has been used of
// it: the rest are custom properties.
type object struct {
	doc     *document
	self    int32
	members []member
	used    map[string]bool
}

// object reads the object at token i and reports keys given twice.
func (p *parser) object(doc *document, i int32) *object {
	o := &object{doc: doc, self: i, members: doc.tape.members(i), used: make(map[string]bool)}
	seen := make(map[string]bool, len(o.members))
	for _, m := range o.members {
		if seen[m.key] {
			p.fail(ErrSyntax, doc.pos(m.at), "the key %q is given twice", m.key)
		}
		seen[m.key] = true
	}
	return o
}

// get returns the value of key and marks it as used.
func (o *object) get(key string) (int32, bool) {
	for _, m := range o.members {
		if m.key == key {
			o.used[key] = true
			return m.value, true
		}
	}
	return 0, false
}

// str returns the string at key; ok is false when it is absent or, after a
// fault, not a string.
func (p *parser) str(o *object, key string) (text string, at int32, ok bool) {
	at, ok = o.get(key)
	if !ok {
		return "", 0, false
	}
	if o.doc.kind(at) != tokString {
		p.fail(ErrSyntax, o.doc.pos(at), "%q must be a string, found %s", key, o.doc.kind(at))
		return "", at, false
	}
	return o.doc.tape.text(at), at, true
}

// list returns the tokens of the array at key; found is whether there is one.
func (p *parser) list(o *object, key string) (items []int32, found bool) {
	at, ok := o.get(key)
	if !ok {
		return nil, false
	}
	if o.doc.kind(at) != tokArray {
		p.fail(ErrSyntax, o.doc.pos(at), "%q must be an array, found %s", key, o.doc.kind(at))
		return nil, false
	}
	return o.doc.children(at), true
}

// rest returns the properties that nothing has used, normalised.
func (o *object) rest() map[string]json.RawMessage {
	var props map[string]json.RawMessage
	for _, m := range o.members {
		if !o.used[m.key] {
			if props == nil {
				props = make(map[string]json.RawMessage)
			}
			props[m.key] = o.doc.tape.appendNormal(nil, m.value)
		}
	}
	return props
}

// fail records a fault at a place. The parser goes on, to find more.
func (p *parser) fail(code *fault.Code, at Pos, format string, args ...any) {
	p.report(code.New(format, args...).At("%s", at))
}

// report records a fault; those after the first hundred are left out.
func (p *parser) report(e *fault.Error) {
	if len(p.errs) < maxSchemaFaults {
		p.errs = append(p.errs, e)
	}
}
