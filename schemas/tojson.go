package schemas

import (
	"bytes"
	"encoding/binary"
	"math"
	"strconv"
)

// AppendAvroToJSON appends the JSON of one value of s in Avro binary, for people
// to read and for AppendJSONToAvro to read back to the same bytes: decimals as
// strings, dates, times and timestamps as text where they have one, uuids as text,
// bytes and fixed as strings of the characters U+0000 to U+00FF (bytes that would
// then look like Postgres' hex form, in that form), fields in the schema's order,
// no spaces. A union of null and one other type is plain, any
// other names its branch as Avro's JSON encoding does.
//
// (Where a map in data has a key twice, or data has redundant bytes as in long
// varints, padded decimals and several blocks, the result is readable but does not
// read back to the same.)
//
// data is validated first: the error is Validate's, dst then unchanged.
func AppendAvroToJSON(dst []byte, s *Schema, data []byte) ([]byte, error) {
	if err := Validate(s, data); err != nil {
		return dst, err
	}
	r := jsonWriter{valid: valid{data}, out: dst}
	r.value(s)
	return r.out, nil
}

// valid reads validated Avro.
type valid struct{ data []byte }

func (v *valid) long() int64 {
	n, size := binary.Varint(v.data)
	v.data = v.data[size:]
	return n
}

func (v *valid) take(n int) []byte {
	b := v.data[:n]
	v.data = v.data[n:]
	return b
}

func (v *valid) bytes() []byte { return v.take(int(v.long())) }

// block returns the number of items that follow, 0 at the end.
func (v *valid) block() int {
	n := v.long()
	if n < 0 {
		v.long() // the size in bytes
		n = -n
	}
	return int(n)
}

// jsonWriter writes validated Avro as JSON.
type jsonWriter struct {
	valid
	out []byte
}

func (r *jsonWriter) text(s string) { r.out = append(r.out, s...) }

func (r *jsonWriter) value(s *Schema) {
	switch s.Type {
	case Null:
		r.text("null")
	case Boolean:
		r.out = strconv.AppendBool(r.out, r.take(1)[0] == 1)
	case Int, Long:
		r.integer(s, r.long())
	case Float:
		r.float(float64(math.Float32frombits(binary.LittleEndian.Uint32(r.take(4)))), 32)
	case Double:
		r.float(math.Float64frombits(binary.LittleEndian.Uint64(r.take(8))), 64)
	case String:
		r.out = appendQuoted(r.out, r.bytes())
	case Bytes:
		r.bytesOf(s, r.bytes())
	case Fixed:
		r.bytesOf(s, r.take(s.Size))
	case Enum:
		r.out = appendQuoted(r.out, s.Symbols[r.long()])
	case Union:
		r.union(s)
	case Record:
		for i, f := range s.Fields {
			r.separator(i, '{')
			r.out = append(appendQuoted(r.out, f.Name), ':')
			r.value(f.Type)
		}
		r.end(len(s.Fields), "{", "}")
	case Array, Map:
		r.items(s)
	}
}

// separator writes the opening before item 0, else a comma.
func (r *jsonWriter) separator(i int, opening byte) {
	if i > 0 {
		opening = ','
	}
	r.out = append(r.out, opening)
}

func (r *jsonWriter) end(items int, opening, closing string) {
	if items == 0 {
		r.text(opening)
	}
	r.text(closing)
}

func (r *jsonWriter) items(s *Schema) {
	index := 0
	for n := r.block(); n > 0; n = r.block() {
		for ; n > 0; n-- {
			if s.Type == Map {
				r.separator(index, '{')
				r.out = append(appendQuoted(r.out, r.bytes()), ':')
			} else {
				r.separator(index, '[')
			}
			r.value(s.Items)
			index++
		}
	}
	if s.Type == Map {
		r.end(index, "{", "}")
	} else {
		r.end(index, "[", "]")
	}
}

func (r *jsonWriter) union(s *Schema) {
	b := s.Branches[r.long()]
	start := len(r.out)
	if b.Type == Null || s.isOptional() {
		r.value(b)
		if !s.looksNamed(r.out[start:]) {
			return
		}
		// Read back, the one key would be taken for the branch's name.
		plain := append([]byte(nil), r.out[start:]...)
		r.out = append(r.openBranch(start, b), plain...)
	} else {
		r.out = r.openBranch(start, b)
		r.value(b)
	}
	r.text("}")
}

func (r *jsonWriter) openBranch(start int, b *Schema) []byte {
	return append(appendQuoted(append(r.out[:start], '{'), b.FullName()), ':')
}

// isOptional reports whether a union has at most one branch besides null.
func (s *Schema) isOptional() bool {
	return len(s.Branches) == 1 || len(s.Branches) == 2 && (s.Branches[0].Type == Null || s.Branches[1].Type == Null)
}

// looksNamed reports whether the plain JSON of a value could be taken for one
// that names its branch of the union s: names never need escapes.
func (s *Schema) looksNamed(plain []byte) bool {
	if len(plain) < 2 || plain[0] != '{' || plain[1] != '"' {
		return false
	}
	end := bytes.IndexByte(plain[2:], '"')
	return s.branchNamed(plain[2:2+end]) >= 0
}

func (r *jsonWriter) integer(s *Schema, n int64) {
	if s.Logical != NoLogical {
		start := len(r.out)
		r.text(`"`)
		out, ok := s.Logical.appendTemporal(r.out, n)
		if ok {
			r.out = append(out, '"')
			return
		}
		r.out = r.out[:start]
	}
	r.out = strconv.AppendInt(r.out, n, 10)
}

func (r *jsonWriter) float(x float64, bits int) {
	switch {
	case math.IsNaN(x):
		r.text(`"NaN"`)
	case math.IsInf(x, 1):
		r.text(`"Infinity"`)
	case math.IsInf(x, -1):
		r.text(`"-Infinity"`)
	default:
		r.out = strconv.AppendFloat(r.out, x, 'g', -1, bits)
	}
}

func (r *jsonWriter) bytesOf(s *Schema, b []byte) {
	r.text(`"`)
	switch {
	case s.Logical == Decimal:
		r.out = appendDecimal(r.out, b, s.Scale)
	case s.Logical == UUID:
		for i, c := range b {
			if i == 4 || i == 6 || i == 8 || i == 10 {
				r.text("-")
			}
			r.out = append(r.out, hexDigits[c>>4], hexDigits[c&15])
		}
	case s.Logical == Duration:
		r.out[len(r.out)-1] = '{'
		for i, name := range durationParts {
			if i > 0 {
				r.text(",")
			}
			r.out = append(appendQuoted(r.out, name), ':')
			r.out = strconv.AppendUint(r.out, uint64(binary.LittleEndian.Uint32(b[4*i:])), 10)
		}
		r.text("}")
		return
	case s.Type == Bytes && looksHex(b):
		r.text(`\\x`)
		for _, c := range b {
			r.out = append(r.out, hexDigits[c>>4], hexDigits[c&15])
		}
	default:
		for _, c := range b {
			switch {
			case c == '"' || c == '\\':
				r.out = append(r.out, '\\', c)
			case c < 0x20 || c >= 0x7f:
				r.out = append(r.out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				r.out = append(r.out, c)
			}
		}
	}
	r.text(`"`)
}
