package schemas

import "encoding/binary"

// record writes an object's members in the order of the fields.
func (e *jsonEncoder) record(s *Schema, i int32) bool {
	base := len(e.slots)
	if !e.findFields(s, i, base) {
		return false
	}
	for n, f := range s.Fields {
		value := e.slots[base+n]
		if value == 0 {
			if f.Default == nil {
				e.field = f
				return e.fail(s, i, badMissing)
			}
			e.out = append(e.out, f.defaultAvro...)
			continue
		}
		if !e.value(f.Type, value) {
			e.path = append(e.path, jsonStep{key: value - 1})
			return false
		}
	}
	e.slots = e.slots[:base]
	return true
}

// findFields notes the token of each field's value in the slots from base on.
// Members are mostly in one of two orders, the schema's or another fixed one
// (jsonb sorts), so the field after the last is tried first.
func (e *jsonEncoder) findFields(s *Schema, i int32, base int) bool {
	for range s.Fields {
		e.slots = append(e.slots, 0)
	}
	count := e.tape.toks[i].count
	e.steps -= int(count)
	expected := 0
	for key := i + 1; count > 0; count-- {
		name := e.unescaped(key)
		n := expected
		if n >= len(s.Fields) || string(name) != s.Fields[n].Name {
			var ok bool
			if n, ok = s.index[string(name)]; !ok {
				return e.fail(s, key, badUnknown)
			}
		}
		if e.slots[base+n] != 0 {
			return e.fail(s, key, badTwice)
		}
		e.slots[base+n] = key + 1
		expected = n + 1
		key = e.tape.toks[key+1].next
	}
	return true
}

// union chooses the branch as AppendJSONToAvro documents.
func (e *jsonEncoder) union(s *Schema, i int32, kind tokKind) bool {
	named := int32(0) // the member of a named branch that did not fit
	var failed failure
	if kind == tokObject && e.tape.toks[i].count == 1 {
		if b := s.branchNamed(e.unescaped(i + 1)); b >= 0 {
			if e.try(s, b, i+2) {
				return true
			}
			named = i + 1
			e.path = append(e.path, jsonStep{key: named})
			failed = e.failure()
		}
	}
	tries := 0
	for _, loose := range [2]bool{false, true} {
		for n, b := range s.Branches {
			if b.isLoose() != loose || !b.holds(kind) {
				continue
			}
			if e.try(s, n, i) {
				return true
			}
			if e.steps < 0 {
				return false
			}
			tries++
		}
	}
	switch {
	case named != 0:
		return e.restore(failed)
	case tries == 1:
		return false // its own reason is the most exact
	}
	return e.fail(s, i, badType)
}

// try writes the value as that branch, or nothing.
func (e *jsonEncoder) try(s *Schema, branch int, i int32) bool {
	out, slots, depth := len(e.out), len(e.slots), e.depth
	e.out = binary.AppendVarint(e.out, int64(branch))
	if e.value(s.Branches[branch], i) {
		return true
	}
	e.out, e.slots, e.depth = e.out[:out], e.slots[:slots], depth
	return false
}

// isLoose reports whether s takes values that another type may hold exactly.
func (s *Schema) isLoose() bool {
	switch s.Type {
	case Float, Double:
		return true
	case Bytes, Fixed:
		return s.Logical == NoLogical
	}
	return false
}

// branchNamed returns the branch that Avro's JSON encoding calls by that name,
// or -1: the full name, or the name alone where one branch has it.
func (s *Schema) branchNamed(name []byte) int {
	short := -1
	for i, b := range s.Branches {
		switch {
		case b.Name == "":
			if string(name) == b.Type.String() && b.Type != Null {
				return i
			}
		case b.isNamed(name):
			return i
		case string(name) == b.Name:
			if short >= 0 {
				short = -2
			} else if short == -1 {
				short = i
			}
		}
	}
	return max(short, -1)
}

// isNamed compares the full name without building it.
func (s *Schema) isNamed(full []byte) bool {
	n := len(s.Namespace)
	if n == 0 {
		return string(full) == s.Name
	}
	return len(full) == n+1+len(s.Name) && string(full[:n]) == s.Namespace && full[n] == '.' && string(full[n+1:]) == s.Name
}

func (e *jsonEncoder) bytes(s *Schema, i int32, kind tokKind) bool {
	switch {
	case s.Logical == Decimal:
		return e.decimal(s, i, kind)
	case kind == tokObject:
		return e.duration(s, i)
	}
	text := e.unescaped(i)
	start := len(e.out)
	if s.Logical == UUID && isUUID(text) {
		for k := 0; k < len(text); k += 2 {
			if text[k] == '-' {
				k++
			}
			e.out = append(e.out, hexValue(text[k])<<4|hexValue(text[k+1]))
		}
		return true
	}
	if e.hexForm(s, text) {
		return true
	}
	size := 0 // in bytes: one for each character
	for _, c := range text {
		if c&0xc0 != 0x80 {
			size++
		}
	}
	if s.Type == Fixed && size != s.Size {
		return e.fail(s, i, badText)
	}
	if s.Type == Bytes {
		e.out = binary.AppendVarint(e.out, int64(size))
	}
	for k := 0; k < len(text); k++ {
		c := text[k]
		if c >= 0x80 {
			if c > 0xc3 {
				e.out = e.out[:start]
				return e.fail(s, i, badLatin1)
			}
			k++
			c = c<<6 | text[k]&0x3f
		}
		e.out = append(e.out, c)
	}
	return true
}

// hexForm writes bytes in the form of Postgres: \x and an even number of hex
// digits, and nothing if text is not that. It wins over Avro's form, whose
// characters could spell the same; AppendAvroToJSON then writes it. For a fixed
// only one of the two has the right length.
func (e *jsonEncoder) hexForm(s *Schema, text []byte) bool {
	if !looksHex(text) || s.Type == Fixed && len(text) != 2*s.Size+2 {
		return false
	}
	if s.Type == Bytes {
		e.out = binary.AppendVarint(e.out, int64(len(text)/2-1))
	}
	for k := 2; k < len(text); k += 2 {
		e.out = append(e.out, hexValue(text[k])<<4|hexValue(text[k+1]))
	}
	return true
}

// looksHex reports whether b is \x and an even number of hex digits.
func looksHex(b []byte) bool {
	if len(b) < 2 || len(b)%2 != 0 || b[0] != '\\' || b[1] != 'x' {
		return false
	}
	for _, c := range b[2:] {
		if !isHex(c) {
			return false
		}
	}
	return true
}

func (e *jsonEncoder) decimal(s *Schema, i int32, kind tokKind) bool {
	text := e.tape.raw(i)
	if kind == tokString {
		if text = e.unescaped(i); !isNumber(text) {
			return e.fail(s, i, badText)
		}
	}
	var buf [40]byte
	negative, digits, ok := unscaled(buf[:], text, s.Scale)
	if !ok || len(digits) > s.Precision {
		return e.fail(s, i, badDecimal)
	}
	var raw [16]byte
	size := 0
	if s.Type == Fixed {
		size = s.Size
	}
	out, ok := appendTwosComplement(raw[:0], negative, digits, size)
	if !ok {
		return e.fail(s, i, badDecimal)
	}
	if s.Type == Bytes {
		e.out = binary.AppendVarint(e.out, int64(len(out)))
	}
	e.out = append(e.out, out...)
	return true
}

var durationParts = [3]string{"months", "days", "millis"}

// duration writes an object of months, days and millis, each 0 by default.
func (e *jsonEncoder) duration(s *Schema, i int32) bool {
	var parts [3]uint32
	var seen [3]bool
	key := i + 1
	for n := e.tape.toks[i].count; n > 0; n-- {
		part := -1
		for p, name := range durationParts {
			if string(e.unescaped(key)) == name {
				part = p
			}
		}
		if part < 0 || seen[part] || e.tape.toks[key+1].kind != tokNumber {
			return e.fail(s, i, badText)
		}
		v, reason := parseInteger(e.tape.raw(key + 1))
		if reason != 0 || v != int64(uint32(v)) {
			return e.fail(s, i, badText)
		}
		parts[part], seen[part] = uint32(v), true
		key = e.tape.toks[key+1].next
	}
	for _, v := range parts {
		e.out = binary.LittleEndian.AppendUint32(e.out, v)
	}
	return true
}
