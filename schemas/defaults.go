package schemas

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
)

// Defaults are read as Avro writes them in schemas: bytes and fixed are strings of
// the characters U+0000 to U+00FF, a union's default is a value of one of its
// branches, without the branch's name: of the first that it fits or, strictly, of
// the first that there is (Pulsar 4.0 carries Avro 1.11, which knows no other).
// Logical types have no form of their own and do not decide which branch it is, but
// a default that is not a value of its type (a uuid of "") is refused.

const (
	maxDefaultDepth = 64
	maxDefaultBytes = 1 << 20
	maxDefaultWork  = 1 << 22 // values looked at for all defaults of a schema
)

// encodeDefaults encodes every default in Avro binary.
func (p *parser) encodeDefaults() {
	for _, f := range p.fields {
		at := p.defaults[f]
		p.laterBranch = false
		out, bad := p.appendDefault([]byte{}, f.Type, at, 0)
		if bad != nil {
			p.fail(ErrInvalidDefault, at.doc.pos(bad.tok), "the default of %q: %s", f.Name, bad.message)
			continue
		}
		w := walker{data: out, free: maxFreeItems}
		if w.value(f.Type, 0, 0) < 0 {
			where := ""
			if len(w.path) > 0 {
				where = pathText(w.path) + ": "
			}
			p.fail(ErrInvalidDefault, at.doc.pos(at.tok), "the default of %q: %s%s", f.Name, where, w.explain())
			continue
		}
		f.defaultAvro, f.later = out, p.laterBranch
		if f.Type.Type == Union {
			branch, _ := w.long(0)
			f.DefaultBranch = int(branch)
		}
	}
}

type badDefault struct {
	tok     int32
	message string
	endless bool // no other branch of a union is tried
}

// appendDefault appends the default at the token, of type s.
func (p *parser) appendDefault(dst []byte, s *Schema, at defaultAt, depth int) ([]byte, *badDefault) {
	t := &at.doc.tape
	kind := t.toks[at.tok].kind
	bad := func(format string, args ...any) ([]byte, *badDefault) {
		return dst, &badDefault{tok: at.tok, message: fmt.Sprintf(format, args...)}
	}
	wrong := func() ([]byte, *badDefault) { return bad("expected %s, found %s", s.describe(), kind) }
	if p.defaultWork++; depth > maxDefaultDepth || len(dst) > maxDefaultBytes || p.defaultWork > maxDefaultWork {
		return dst, &badDefault{tok: at.tok, message: "it never ends, or is too large", endless: true}
	}
	switch s.Type {
	case Null:
		if kind != tokNull {
			return wrong()
		}
	case Boolean:
		switch kind {
		case tokTrue:
			dst = append(dst, 1)
		case tokFalse:
			dst = append(dst, 0)
		default:
			return wrong()
		}
	case Int, Long:
		bits := 64
		if s.Type == Int {
			bits = 32
		}
		n, err := strconv.ParseInt(string(t.raw(at.tok)), 10, bits)
		if kind != tokNumber || err != nil {
			return bad("expected %s, found %s", s.describe(), t.appendNormal(nil, at.tok))
		}
		dst = binary.AppendVarint(dst, n)
	case Float, Double:
		x, err := strconv.ParseFloat(string(t.raw(at.tok)), 64)
		if kind != tokNumber || err != nil || s.Type == Float && math.Abs(x) > math.MaxFloat32 {
			return wrong()
		}
		if s.Type == Float {
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(x)))
		} else {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(x))
		}
	case String:
		if kind != tokString {
			return wrong()
		}
		text := t.text(at.tok)
		dst = append(binary.AppendVarint(dst, int64(len(text))), text...)
	case Bytes, Fixed:
		if kind != tokString {
			return wrong()
		}
		b, ok := appendLatin1(nil, t.text(at.tok))
		if !ok || s.Type == Fixed && len(b) != s.Size {
			return wrong()
		}
		if s.Type == Bytes {
			dst = binary.AppendVarint(dst, int64(len(b)))
		}
		dst = append(dst, b...)
	case Enum:
		if kind != tokString {
			return wrong()
		}
		i, ok := s.index[t.text(at.tok)]
		if !ok {
			return bad("%q is not a symbol of %s", t.text(at.tok), s.FullName())
		}
		dst = binary.AppendVarint(dst, int64(i))
	case Array, Map:
		if kind != tokArray && kind != tokObject || (s.Type == Array) != (kind == tokArray) {
			return wrong()
		}
		return p.appendDefaultItems(dst, s, at, depth)
	case Record:
		if kind != tokObject {
			return wrong()
		}
		return p.appendDefaultRecord(dst, s, at, depth)
	case Union:
		return p.appendDefaultBranch(dst, s, at, depth)
	}
	return dst, nil
}

// appendDefaultBranch appends the default of a union.
func (p *parser) appendDefaultBranch(dst []byte, s *Schema, at defaultAt, depth int) ([]byte, *badDefault) {
	var closest *badDefault
	others := 0 // than null
	for i, b := range s.Branches {
		before := p.laterBranch
		out, bad := p.appendDefault(binary.AppendVarint(dst, int64(i)), b, at, depth+1)
		switch {
		case bad == nil:
			p.laterBranch = p.laterBranch || i > 0
			return out, nil
		case p.strict:
			if bad.tok == at.tok {
				bad.message += " (the default of a union is of its first branch)"
			}
			return dst, bad
		case bad.endless:
			return dst, bad
		case closest == nil || closest.tok == at.tok && b.Type != Null: // the one that was meant
			closest = bad
		}
		if b.Type != Null {
			others++
		}
		p.laterBranch = before
	}
	if closest.tok == at.tok && others > 1 {
		closest.message = fmt.Sprintf("no branch of the union takes %s", at.doc.kind(at.tok))
	}
	return dst, closest
}

func (p *parser) appendDefaultItems(dst []byte, s *Schema, at defaultAt, depth int) ([]byte, *badDefault) {
	t := &at.doc.tape
	if n := t.toks[at.tok].count; n > 0 {
		dst = binary.AppendVarint(dst, int64(n))
	}
	var bad *badDefault
	if s.Type == Array {
		for _, item := range at.doc.children(at.tok) {
			if dst, bad = p.appendDefault(dst, s.Items, defaultAt{at.doc, item}, depth+1); bad != nil {
				return dst, bad
			}
		}
		return append(dst, 0), nil
	}
	seen := make(map[string]bool)
	for _, m := range t.members(at.tok) {
		if seen[m.key] {
			return dst, &badDefault{tok: m.at, message: fmt.Sprintf("the key %q is given twice", m.key)}
		}
		seen[m.key] = true
		dst = append(binary.AppendVarint(dst, int64(len(m.key))), m.key...)
		if dst, bad = p.appendDefault(dst, s.Items, defaultAt{at.doc, m.value}, depth+1); bad != nil {
			return dst, bad
		}
	}
	return append(dst, 0), nil
}

func (p *parser) appendDefaultRecord(dst []byte, s *Schema, at defaultAt, depth int) ([]byte, *badDefault) {
	given := make(map[string]member)
	for _, m := range at.doc.tape.members(at.tok) {
		if _, known := s.index[m.key]; !known {
			return dst, &badDefault{tok: m.at, message: fmt.Sprintf("%s has no field %q", s.FullName(), m.key)}
		}
		if _, twice := given[m.key]; twice {
			return dst, &badDefault{tok: m.at, message: fmt.Sprintf("the key %q is given twice", m.key)}
		}
		given[m.key] = m
	}
	for _, f := range s.Fields {
		m, isGiven := given[f.Name]
		value, hasDefault := p.defaults[f]
		switch {
		case isGiven:
			value = defaultAt{at.doc, m.value}
		case !hasDefault:
			return dst, &badDefault{tok: at.tok, message: fmt.Sprintf("the field %q is missing", f.Name)}
		}
		var bad *badDefault
		if dst, bad = p.appendDefault(dst, f.Type, value, depth+1); bad != nil {
			if !isGiven {
				bad.tok = at.tok // the flaw may be in another file
			}
			return dst, bad
		}
	}
	return dst, nil
}

// describe names the type for a message.
func (s *Schema) describe() string {
	name := s.FullName()
	switch {
	case s.Type == Union:
		return "a union"
	case s.Type == Fixed:
		return fmt.Sprintf("%s (fixed, %d bytes)", name, s.Size)
	case s.Name != "":
		return fmt.Sprintf("%s (%s)", name, s.Type)
	case s.Logical != NoLogical:
		return fmt.Sprintf("%s (%s)", s.Logical, s.Type)
	}
	return name
}

// appendLatin1 appends text's characters as bytes; false when one is above
// U+00FF.
func appendLatin1(dst []byte, text string) ([]byte, bool) {
	for _, r := range text {
		if r > 0xff || r == utf8.RuneError {
			return dst, false
		}
		dst = append(dst, byte(r))
	}
	return dst, true
}
