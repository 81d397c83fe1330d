package schemas

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
	"sync"
)

// Bounds of JSON data.
const (
	maxJSONBytes = 64 << 20
	maxJSONDepth = 2*maxDataDepth + 2 // branch names may double the depth of the data
)

// AppendJSONToAvro appends the Avro binary of a JSON text under s, which must
// come from this package's parser. Avro's JSON encoding, plain JSON and what
// Postgres' to_jsonb makes of a row are accepted, mixed at will:
//
//	null, boolean     as in JSON
//	int, long         a number whose value is an integer (5, 5.0, 5e0), exactly
//	float, double     a number, rounded to the nearest; "NaN", "Infinity", "-Infinity"
//	string            a string
//	bytes, fixed      a string: "\\x00ff", Postgres' hex form of a bytea, or else its
//	                  characters U+0000 to U+00FF are the bytes, as Avro has it; not base64
//	enum              its symbol as a string
//	array, map        an array, an object
//	record            an object; a missing field takes its default, an unknown one is an error
//	union             {"<branch's type name>": value} as Avro has it, or the plain value
//	decimal           a number, or a string that holds one, exact to its scale ("12.30", 12.3)
//	uuid              a string of 36 characters (fixed: also as any fixed)
//	date, time        "2006-01-02", "15:04:05.000", or the number Avro stores
//	timestamps        RFC 3339 with its zone, local ones without, a blank for the T admitted;
//	                  or the number Avro stores; finer digits than the type holds are cut off
//	duration          {"months": 1, "days": 2, "millis": 3}, or the 12 bytes as for fixed
//
// Dates and timestamps may have years of five to seven digits, a " BC" at the
// end, and zones as +01 and +00:17:30, as Postgres writes them. What Avro cannot
// hold is refused: "infinity" for a date or timestamp, 24:00:00 for a time, "NaN"
// for a decimal.
//
// Which branch of a union a value takes: null takes null. An object with one
// member whose key is a branch's full name, name (where only one branch has it)
// or type takes that branch if the member's value fits. Else the first branch
// that the value fits, in the schema's order, but float, double, bytes and plain
// fixed only after all others, as they would take what another holds exactly.
// A decimal's bytes are not accepted as Avro's JSON encoding has them, because
// bytes that spell digits would be read as a number.
//
// The error is ErrInvalidJSON with the JSON path and the expected type; dst is
// then returned unchanged. No reference to text is kept.
func AppendJSONToAvro(dst []byte, s *Schema, text []byte) ([]byte, error) {
	if len(text) > maxJSONBytes {
		return dst, ErrInvalidJSON.New("$: %d bytes are more than %d", len(text), maxJSONBytes)
	}
	e := encoders.Get().(*jsonEncoder)
	defer e.release()
	if bad := e.tape.scan(text, maxJSONDepth); bad != nil {
		return dst, ErrInvalidJSON.New("not JSON: %s (at byte %d)", bad.message, bad.off)
	}
	e.out, e.slots, e.path, e.reason, e.depth = dst, e.slots[:0], e.path[:0], 0, 0
	e.steps = 1024 + 64*len(e.tape.toks)
	if !e.value(s, 0) {
		return dst, e.error()
	}
	return e.out, nil
}

var encoders = sync.Pool{New: func() any { return new(jsonEncoder) }}

// release returns e to the pool, unless one large event made it large.
func (e *jsonEncoder) release() {
	e.out, e.tape.src, e.schema, e.field = nil, nil, nil, nil
	if cap(e.tape.toks) <= 1<<14 && cap(e.scratch) <= 1<<18 {
		encoders.Put(e)
	}
}

// jsonEncoder appends the values of a tape in Avro binary.
type jsonEncoder struct {
	tape    tape
	out     []byte
	slots   []int32 // by field of the records being written: its token, or 0
	scratch []byte
	steps   int // bounds the tries that nested unions may take
	depth   int

	// The failure, whose path grows on the way out.
	reason badValue
	at     int32
	schema *Schema
	field  *Field
	path   []jsonStep
}

// jsonStep is an object's key, by its token, or an array's index.
type jsonStep struct {
	key   int32 // 0: an index
	index int
}

func (e *jsonEncoder) fail(s *Schema, i int32, reason badValue) bool {
	e.schema, e.at, e.reason, e.path = s, i, reason, e.path[:0]
	return false
}

func (e *jsonEncoder) value(s *Schema, i int32) bool {
	if e.steps--; e.steps < 0 {
		return e.fail(s, i, badAmbiguous)
	}
	kind := e.tape.toks[i].kind
	if s.Type == Union {
		return e.union(s, i, kind)
	}
	if !s.holds(kind) {
		return e.fail(s, i, badType)
	}
	switch s.Type {
	case Null:
		return true
	case Boolean:
		e.out = append(e.out, byte(kind-tokFalse))
		return true
	case Int, Long:
		return e.integer(s, i, kind)
	case Float, Double:
		return e.float(s, i, kind)
	case String:
		return e.str(s, i)
	case Bytes, Fixed:
		return e.bytes(s, i, kind)
	case Enum:
		n, ok := s.index[string(e.unescaped(i))]
		if !ok {
			return e.fail(s, i, badSymbolName)
		}
		e.out = binary.AppendVarint(e.out, int64(n))
		return true
	}
	if e.depth++; e.depth > maxDataDepth {
		return e.fail(s, i, badNesting)
	}
	var ok bool
	switch s.Type {
	case Record:
		ok = e.record(s, i)
	case Array:
		ok = e.array(s, i)
	case Map:
		ok = e.mapping(s, i)
	}
	e.depth--
	return ok
}

// holds reports whether a JSON value of that kind can be of type s at all.
func (s *Schema) holds(kind tokKind) bool {
	switch s.Type {
	case Null:
		return kind == tokNull
	case Boolean:
		return kind == tokTrue || kind == tokFalse
	case Int, Long:
		return kind == tokNumber || kind == tokString && s.Logical != NoLogical
	case Float, Double:
		return kind == tokNumber || kind == tokString
	case String, Enum:
		return kind == tokString
	case Bytes, Fixed:
		return kind == tokString || kind == tokNumber && s.Logical == Decimal || kind == tokObject && s.Logical == Duration
	case Array:
		return kind == tokArray
	}
	return kind == tokObject
}

// unescaped returns a string's value, valid until the next call.
func (e *jsonEncoder) unescaped(i int32) []byte {
	if !e.tape.toks[i].escaped {
		return e.tape.raw(i)
	}
	e.scratch = e.tape.appendString(e.scratch[:0], i)
	return e.scratch
}

func (e *jsonEncoder) integer(s *Schema, i int32, kind tokKind) bool {
	var n int64
	if kind == tokString {
		var ok bool
		if n, ok = s.Logical.parseTemporal(e.unescaped(i)); !ok {
			return e.fail(s, i, badText)
		}
	} else {
		var reason badValue
		if n, reason = parseInteger(e.tape.raw(i)); reason != 0 {
			return e.fail(s, i, reason)
		}
	}
	if s.Type == Int && n != int64(int32(n)) || s.Logical.isTimeOfDay() && uint64(n) >= uint64(86400*s.Logical.unitsPerSecond()) {
		return e.fail(s, i, badRange)
	}
	e.out = binary.AppendVarint(e.out, n)
	return true
}

// parseInteger reads a JSON number that has an integer's value.
func parseInteger(b []byte) (int64, badValue) {
	if len(b) <= 18 { // fits, whatever the digits
		var n int64
		digits := b
		if b[0] == '-' {
			digits = b[1:]
		}
		for _, c := range digits {
			if c-'0' > 9 {
				n = -1
				break
			}
			n = n*10 + int64(c-'0')
		}
		if n >= 0 {
			if b[0] == '-' {
				n = -n
			}
			return n, 0
		}
	}
	var buf [24]byte
	negative, digits, ok := unscaled(buf[:], b, 0)
	if !ok {
		return 0, badWhole
	}
	if len(digits) == 0 {
		return 0, 0
	}
	text := string(digits)
	if negative {
		text = "-" + text
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, badRange
	}
	return n, 0
}

func (e *jsonEncoder) float(s *Schema, i int32, kind tokKind) bool {
	var x float64
	bits := 64
	if s.Type == Float {
		bits = 32
	}
	if kind == tokString {
		switch string(e.unescaped(i)) {
		case "NaN":
			x = math.NaN()
		case "Infinity":
			x = math.Inf(1)
		case "-Infinity":
			x = math.Inf(-1)
		default:
			return e.fail(s, i, badText)
		}
	} else {
		var err error
		if x, err = strconv.ParseFloat(string(e.tape.raw(i)), bits); err != nil {
			return e.fail(s, i, badRange)
		}
	}
	if bits == 32 {
		e.out = binary.LittleEndian.AppendUint32(e.out, math.Float32bits(float32(x)))
	} else {
		e.out = binary.LittleEndian.AppendUint64(e.out, math.Float64bits(x))
	}
	return true
}

func (e *jsonEncoder) str(s *Schema, i int32) bool {
	b := e.unescaped(i)
	if s.Logical == UUID && !isUUID(b) {
		return e.fail(s, i, badText)
	}
	e.out = append(binary.AppendVarint(e.out, int64(len(b))), b...)
	return true
}

func (e *jsonEncoder) array(s *Schema, i int32) bool {
	count := int(e.tape.toks[i].count)
	if count > 0 {
		e.out = binary.AppendVarint(e.out, int64(count))
	}
	item := i + 1
	for n := 0; n < count; n++ {
		if !e.value(s.Items, item) {
			e.path = append(e.path, jsonStep{index: n})
			return false
		}
		item = e.tape.toks[item].next
	}
	e.out = append(e.out, 0)
	return true
}

func (e *jsonEncoder) mapping(s *Schema, i int32) bool {
	count := int(e.tape.toks[i].count)
	if count > 0 {
		e.out = binary.AppendVarint(e.out, int64(count))
	}
	if twice := e.repeated(i); twice != 0 {
		return e.fail(s, twice, badTwice)
	}
	key := i + 1
	for ; count > 0; count-- {
		b := e.unescaped(key)
		e.out = append(binary.AppendVarint(e.out, int64(len(b))), b...)
		if !e.value(s.Items, key+1) {
			e.path = append(e.path, jsonStep{key: key})
			return false
		}
		key = e.tape.toks[key+1].next
	}
	e.out = append(e.out, 0)
	return true
}

// repeated returns the token of an object's key that is given twice, or 0.
func (e *jsonEncoder) repeated(i int32) int32 {
	count := e.tape.toks[i].count
	if count > 8 {
		seen := make(map[string]bool, count)
		for key := i + 1; count > 0; count-- {
			b := e.unescaped(key)
			if seen[string(b)] {
				return key
			}
			seen[string(b)] = true
			key = e.tape.toks[key+1].next
		}
		return 0
	}
	for key, n := i+1, count; n > 1; n-- {
		next := e.tape.toks[key+1].next
		for other, m := next, n-1; m > 0; m-- {
			if e.sameText(key, other) {
				return other
			}
			other = e.tape.toks[other+1].next
		}
		key = next
	}
	return 0
}

func (e *jsonEncoder) sameText(a, b int32) bool {
	if !e.tape.toks[a].escaped && !e.tape.toks[b].escaped {
		return bytes.Equal(e.tape.raw(a), e.tape.raw(b))
	}
	return e.tape.text(a) == e.tape.text(b)
}
