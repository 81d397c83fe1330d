package schemas

import (
	"unicode/utf16"
	"unicode/utf8"
)

// str reads a string, whose opening quote is next.
func (t *tape) str() *jsonError {
	t.off++
	start, escaped := t.off, false
	for t.off < len(t.src) {
		switch c := t.src[t.off]; {
		case c == '"':
			t.add(tokString, start, t.off, escaped)
			t.off++
			return nil
		case c == '\\':
			escaped = true
			if err := t.escape(); err != nil {
				return err
			}
		case c < 0x20:
			return t.fail("a control character must be escaped in a string")
		case c < utf8.RuneSelf:
			t.off++
		default:
			r, n := utf8.DecodeRune(t.src[t.off:])
			if r == utf8.RuneError && n == 1 {
				return t.fail("not UTF-8")
			}
			t.off += n
		}
	}
	return t.fail("a string without its closing quote")
}

func (t *tape) escape() *jsonError {
	if t.off+1 >= len(t.src) {
		return t.fail("a string without its closing quote")
	}
	switch t.src[t.off+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		t.off += 2
		return nil
	case 'u':
		_, n := unescapeRune(t.src[t.off:])
		if n == 0 {
			return t.fail("expected four hex digits after \\u, and surrogates in pairs")
		}
		t.off += n
		return nil
	}
	return t.fail("unknown escape \\%c", t.src[t.off+1])
}

// unescapeRune reads \u and four hexadecimal digits, or a pair of surrogates so written; n is 0 when it is neither.
func unescapeRune(b []byte) (r rune, n int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hex4(b[6:])
	if !ok {
		return 0, 0
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// raw returns the text of token i; a string without its quotes, escapes as they
// stand.
func (t *tape) raw(i int32) []byte { return t.src[t.toks[i].start:t.toks[i].end] }

// appendString appends the value of the string token i.
func (t *tape) appendString(dst []byte, i int32) []byte {
	raw := t.raw(i)
	if !t.toks[i].escaped {
		return append(dst, raw...)
	}
	for k := 0; k < len(raw); {
		c := raw[k]
		if c != '\\' {
			dst = append(dst, c)
			k++
			continue
		}
		k += 2
		switch c = raw[k-1]; c {
		case 'b':
			c = '\b'
		case 'f':
			c = '\f'
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case 'u':
			r, n := unescapeRune(raw[k-2:])
			dst = utf8.AppendRune(dst, r)
			k += n - 2
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// text returns the value of the string token i.
func (t *tape) text(i int32) string { return string(t.appendString(nil, i)) }

const hexDigits = "0123456789abcdef"

// appendQuoted appends s as a JSON string with as few escapes as JSON allows;
// s must be UTF-8.
func appendQuoted[T []byte | string](dst []byte, s T) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}

// appendNormal appends the value at token i without spaces, with its strings
// escaped in one way and its objects sorted by key; numbers stay as written.
func (t *tape) appendNormal(dst []byte, i int32) []byte {
	k := t.toks[i]
	switch k.kind {
	case tokString:
		if k.escaped {
			return appendQuoted(dst, t.appendString(nil, i))
		}
		return appendQuoted(dst, t.raw(i))
	case tokArray:
		dst = append(dst, '[')
		item := i + 1
		for n := int32(0); n < k.count; n++ {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = t.appendNormal(dst, item)
			item = t.toks[item].next
		}
		return append(dst, ']')
	case tokObject:
		dst = append(dst, '{')
		for n, m := range t.sortedMembers(i) {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendQuoted(dst, m.key), ':')
			dst = t.appendNormal(dst, m.value)
		}
		return append(dst, '}')
	}
	return append(dst, t.raw(i)...)
}
