package schemas

import (
	"fmt"
	"unicode/utf8"
)

// tokKind is what a token of a tape is.
type tokKind uint8

const (
	tokNull tokKind = iota
	tokFalse
	tokTrue
	tokNumber
	tokString // a value or an object's key
	tokArray
	tokObject
)

var tokNames = [...]string{"null", "a boolean", "a boolean", "a number", "a string", "an array", "an object"}

func (k tokKind) String() string { return tokNames[k] }

// tok is one JSON value, or an object's key.
type tok struct {
	kind       tokKind
	escaped    bool  // string: it holds escapes
	start, end int32 // its text in the source; a string without the quotes
	next       int32 // the token after this value and all it contains
	count      int32 // array: items; object: members
}

// tape is a JSON text cut into tokens, in one pass and without a tree: an
// object is followed by its keys and values in turn, and every value knows where
// it ends, so that members can be read in another order than they were written.
// The text is RFC 8259 to the letter: UTF-8, no lone surrogates, nothing after
// the value. A tape can be used again.
type tape struct {
	src   []byte
	toks  []tok
	off   int
	depth int // deepest nesting allowed
}

// jsonError is a flaw of the text at a byte offset.
type jsonError struct {
	off     int
	message string
	tooDeep bool
}

// scan reads src, which must not be longer than 1 GiB.
func (t *tape) scan(src []byte, depth int) *jsonError {
	t.src, t.toks, t.off, t.depth = src, t.toks[:0], 0, depth
	t.space()
	if err := t.value(0); err != nil {
		return err
	}
	t.space()
	if t.off < len(src) {
		return t.fail("unexpected %s after the value", t.found())
	}
	return nil
}

func (t *tape) fail(format string, args ...any) *jsonError {
	return &jsonError{off: t.off, message: fmt.Sprintf(format, args...)}
}

// found describes the next character for a message.
func (t *tape) found() string {
	if t.off >= len(t.src) {
		return "end of text"
	}
	r, _ := utf8.DecodeRune(t.src[t.off:])
	return fmt.Sprintf("%q", r)
}

func (t *tape) space() {
	for t.off < len(t.src) {
		switch t.src[t.off] {
		case ' ', '\t', '\n', '\r':
			t.off++
		default:
			return
		}
	}
}

func (t *tape) value(depth int) *jsonError {
	if t.off >= len(t.src) {
		return t.fail("expected a value, found end of text")
	}
	switch c := t.src[t.off]; c {
	case '"':
		return t.str()
	case '{', '[':
		if depth >= t.depth {
			err := t.fail("nested more than %d deep", t.depth)
			err.tooDeep = true
			return err
		}
		if c == '{' {
			return t.object(depth + 1)
		}
		return t.array(depth + 1)
	case 'n':
		return t.word("null", tokNull)
	case 't':
		return t.word("true", tokTrue)
	case 'f':
		return t.word("false", tokFalse)
	default:
		if c == '-' || c-'0' < 10 {
			return t.number()
		}
	}
	return t.fail("expected a value, found %s", t.found())
}

func (t *tape) add(kind tokKind, start, end int, escaped bool) {
	t.toks = append(t.toks, tok{
		kind: kind, escaped: escaped, start: int32(start), end: int32(end), next: int32(len(t.toks) + 1),
	})
}

func (t *tape) word(word string, kind tokKind) *jsonError {
	if len(t.src)-t.off < len(word) || string(t.src[t.off:t.off+len(word)]) != word {
		return t.fail("expected %s", word)
	}
	t.add(kind, t.off, t.off+len(word), false)
	t.off += len(word)
	return nil
}

func (t *tape) digits() bool {
	start := t.off
	for t.off < len(t.src) && t.src[t.off]-'0' < 10 {
		t.off++
	}
	return t.off > start
}

func (t *tape) number() *jsonError {
	start := t.off
	if t.src[t.off] == '-' {
		t.off++
	}
	first := t.off
	if !t.digits() {
		return t.fail("expected a digit, found %s", t.found())
	}
	if t.src[first] == '0' && t.off > first+1 {
		t.off = first
		return t.fail("a number must not begin with 0")
	}
	if t.off < len(t.src) && t.src[t.off] == '.' {
		t.off++
		if !t.digits() {
			return t.fail("expected a digit, found %s", t.found())
		}
	}
	if t.off < len(t.src) && t.src[t.off]|0x20 == 'e' {
		t.off++
		if t.off < len(t.src) && (t.src[t.off] == '+' || t.src[t.off] == '-') {
			t.off++
		}
		if !t.digits() {
			return t.fail("expected a digit, found %s", t.found())
		}
	}
	t.add(tokNumber, start, t.off, false)
	return nil
}

func (t *tape) array(depth int) *jsonError {
	self := len(t.toks)
	t.add(tokArray, t.off, 0, false)
	t.off++
	count := int32(0)
	t.space()
	if t.off < len(t.src) && t.src[t.off] == ']' {
		return t.close(self, count)
	}
	for {
		if err := t.value(depth); err != nil {
			return err
		}
		count++
		t.space()
		if t.off < len(t.src) && t.src[t.off] == ']' {
			return t.close(self, count)
		}
		if t.off >= len(t.src) || t.src[t.off] != ',' {
			return t.fail("expected , or ], found %s", t.found())
		}
		t.off++
		t.space()
	}
}

func (t *tape) object(depth int) *jsonError {
	self := len(t.toks)
	t.add(tokObject, t.off, 0, false)
	t.off++
	count := int32(0)
	t.space()
	if t.off < len(t.src) && t.src[t.off] == '}' {
		return t.close(self, count)
	}
	for {
		if t.off >= len(t.src) || t.src[t.off] != '"' {
			return t.fail("expected a key in quotes, found %s", t.found())
		}
		if err := t.str(); err != nil {
			return err
		}
		t.space()
		if t.off >= len(t.src) || t.src[t.off] != ':' {
			return t.fail("expected :, found %s", t.found())
		}
		t.off++
		t.space()
		if err := t.value(depth); err != nil {
			return err
		}
		count++
		t.space()
		if t.off < len(t.src) && t.src[t.off] == '}' {
			return t.close(self, count)
		}
		if t.off >= len(t.src) || t.src[t.off] != ',' {
			return t.fail("expected , or }, found %s", t.found())
		}
		t.off++
		t.space()
	}
}

func (t *tape) close(self int, count int32) *jsonError {
	t.off++
	t.toks[self].end = int32(t.off)
	t.toks[self].next = int32(len(t.toks))
	t.toks[self].count = count
	return nil
}
