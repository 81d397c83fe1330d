package schemas

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"pgregory.net/rapid"
)

// randomSchema draws schemas as the JSON values they are written as, so that they
// can be changed before they are parsed.
type randomSchema struct {
	t       *rapid.T
	names   int
	defined []string // types that can be referred to
	open    []string // records being defined: referred to only where data can end
	plain   bool     // no logical types
}

func (r *randomSchema) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(r.t, label) }

func (r *randomSchema) name(prefix string) string {
	r.names++
	return fmt.Sprintf("%s%d", prefix, r.names)
}

var (
	plainTypes = []any{"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
	logicalOf  = []any{
		map[string]any{"type": "bytes", "logicalType": "decimal", "precision": 30, "scale": 3},
		map[string]any{"type": "string", "logicalType": "uuid"},
		map[string]any{"type": "int", "logicalType": "date"},
		map[string]any{"type": "int", "logicalType": "time-millis"},
		map[string]any{"type": "long", "logicalType": "time-micros"},
		map[string]any{"type": "long", "logicalType": "timestamp-millis"},
		map[string]any{"type": "long", "logicalType": "timestamp-micros"},
		map[string]any{"type": "long", "logicalType": "timestamp-nanos"},
		map[string]any{"type": "long", "logicalType": "local-timestamp-micros"},
	}
)

// schema draws a type; ends says that data of it must be able to end here.
func (r *randomSchema) schema(depth int, union bool) any {
	kinds := 9
	if depth <= 0 {
		kinds = 3
	}
	switch r.pick("kind", kinds) {
	case 1:
		if !r.plain {
			return logicalOf[r.pick("logical", len(logicalOf))]
		}
	case 2:
		if len(r.defined) > 0 {
			return r.defined[r.pick("ref", len(r.defined))]
		}
	case 3:
		name := r.name("F")
		f := map[string]any{"type": "fixed", "name": name, "size": r.pick("size", 5)}
		if !r.plain {
			switch r.pick("fixed", 5) {
			case 0:
				f["size"], f["logicalType"] = 16, "uuid"
			case 1:
				f["size"], f["logicalType"] = 12, "duration"
			case 2:
				f["size"], f["logicalType"], f["precision"], f["scale"] = 9, "decimal", 18, 4
			}
		}
		r.defined = append(r.defined, name)
		return f
	case 4:
		name := r.name("E")
		symbols := []any{"A", "B", "C"}[:1+r.pick("symbols", 3)]
		r.defined = append(r.defined, name)
		e := map[string]any{"type": "enum", "name": name, "symbols": symbols}
		if r.pick("enum default", 2) == 0 {
			e["default"] = "A"
		}
		return e
	case 5:
		return map[string]any{"type": "array", "items": r.inside(depth)}
	case 6:
		return map[string]any{"type": "map", "values": r.inside(depth)}
	case 7:
		return r.record(depth)
	case 8:
		if union {
			return r.union(depth)
		}
	}
	return plainTypes[r.pick("plain", len(plainTypes))]
}

// inside draws the type of items, which may be a record that is still open.
func (r *randomSchema) inside(depth int) any {
	if len(r.open) > 0 && r.pick("recursive", 4) == 0 {
		return r.open[r.pick("open", len(r.open))]
	}
	return r.schema(depth-1, true)
}

func (r *randomSchema) union(depth int) any {
	branches := []any{"null"}
	if r.pick("branches", 2) == 0 {
		return append(branches, r.branch(depth, map[string]bool{"null": true}))
	}
	seen := map[string]bool{"null": true}
	for n := 2 + r.pick("more", 3); n > 0; n-- {
		if b := r.branch(depth, seen); b != nil {
			branches = append(branches, b)
		}
	}
	if len(branches) == 1 {
		branches = append(branches, r.record(0))
	}
	return branches
}

// branch draws a type that the union does not hold yet.
func (r *randomSchema) branch(depth int, seen map[string]bool) any {
	for range 20 {
		b := r.inside(depth)
		kind := fmt.Sprint(b)
		if _, ok := b.([]any); ok {
			continue
		}
		if m, ok := b.(map[string]any); ok {
			if kind = m["type"].(string); m["name"] != nil {
				kind = m["name"].(string)
			}
		}
		if !seen[kind] {
			seen[kind] = true
			return b
		}
	}
	b := r.record(0)
	return b
}

func (r *randomSchema) record(depth int) any {
	name := r.name("R")
	r.open = append(r.open, name)
	var fields []any
	for n := r.pick("fields", 5); n > 0; n-- {
		f := map[string]any{"name": r.name("f"), "type": r.schema(depth-1, true)}
		if r.pick("default", 3) == 0 {
			withDefault(f)
		}
		fields = append(fields, f)
	}
	r.open = r.open[:len(r.open)-1]
	r.defined = append(r.defined, name)
	if fields == nil {
		fields = []any{}
	}
	return map[string]any{"type": "record", "name": name, "fields": fields}
}

// withDefault gives a field a default where one is easily known.
func withDefault(f map[string]any) bool {
	d, ok := defaultOf(f["type"])
	if ok {
		f["default"] = d
	}
	return ok
}

func defaultOf(s any) (any, bool) {
	switch s := s.(type) {
	case []any:
		return defaultOf(s[0])
	case map[string]any:
		switch s["type"] {
		case "array":
			return []any{}, true
		case "map":
			return map[string]any{}, true
		case "enum":
			return s["symbols"].([]any)[0], true
		case "record", "fixed":
			return nil, false
		}
		switch s["logicalType"] {
		case "uuid", "decimal":
			return nil, false
		case "time-millis", "time-micros":
			return 7, true
		}
		return defaultOf(s["type"])
	case string:
		d, ok := map[string]any{"null": nil, "boolean": true, "int": 7, "long": -7, "float": 1.5, "double": 2, "bytes": "ab", "string": "xy"}[s]
		return d, ok
	}
	return nil, false
}

func schemaText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// drawn says how appendRandom draws.
type drawn uint8

const (
	inBlocks drawn = 1 << iota // arrays and maps are cut into blocks of all kinds
	loosely                    // logical types may be violated
)

// appendRandom appends a random value of s.
func appendRandom(t *rapid.T, dst []byte, s *Schema, depth int, how drawn) []byte {
	if how&loosely != 0 && s.isNarrow() {
		return appendLoosely(t, dst, s)
	}
	blocks := how&inBlocks != 0
	long := func(low, high int64) []byte {
		return binary.AppendVarint(dst, rapid.Int64Range(low, high).Draw(t, "n"))
	}
	switch s.Type {
	case Boolean:
		return append(dst, byte(rapid.IntRange(0, 1).Draw(t, "bool")))
	case Int:
		if s.Logical == TimeMillis {
			return long(0, 86399999)
		}
		return long(math.MinInt32, math.MaxInt32)
	case Long:
		if s.Logical == TimeMicros {
			return long(0, 86399999999)
		}
		if s.Logical != NoLogical {
			return long(-1<<58, 1<<58)
		}
		return long(math.MinInt64, math.MaxInt64)
	case Float:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(rapid.Float32().Draw(t, "float")))
	case Double:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(rapid.Float64().Draw(t, "double")))
	case Bytes, Fixed:
		b := rapid.SliceOfN(rapid.Byte(), s.Size, max(s.Size, 6)).Draw(t, "bytes")
		if looksHex(b) {
			b[0] = 'X' // read back from another library's JSON it would be Postgres' form
		}
		if s.Logical == Decimal {
			b = drawInteger(t, s.Precision, s.Size)
		}
		if s.Type == Fixed {
			return append(dst, b[:s.Size]...)
		}
		return append(binary.AppendVarint(dst, int64(len(b))), b...)
	case String:
		text := rapid.StringN(0, 8, -1).Draw(t, "string")
		if s.Logical == UUID {
			text = "0190163d-8694-739b-aea5-966c26f8ad91"
		}
		return append(binary.AppendVarint(dst, int64(len(text))), text...)
	case Enum:
		return long(0, int64(len(s.Symbols)-1))
	case Union:
		n := rapid.IntRange(0, len(s.Branches)-1).Draw(t, "branch")
		if depth <= 0 {
			n = s.shortBranch(-depth)
		}
		return appendRandom(t, binary.AppendVarint(dst, int64(n)), s.Branches[n], depth-1, how)
	case Record:
		for _, f := range s.Fields {
			dst = appendRandom(t, dst, f.Type, depth-1, how)
		}
		return dst
	case Array, Map:
		most := 3
		if depth <= 0 {
			most = 0
		}
		if s.Type == Map && !blocks {
			most = min(most, 1) // other libraries write maps in any order
		}
		for n, key := rapid.IntRange(0, most).Draw(t, "items"), 0; n > 0; {
			count := n
			if blocks {
				count = rapid.IntRange(1, n).Draw(t, "block")
			}
			var items []byte
			for range count {
				if s.Type == Map {
					items = append(items, 4, 'k', byte('0'+key))
					key++
				}
				items = appendRandom(t, items, s.Items, depth-1, how)
			}
			if blocks && rapid.Bool().Draw(t, "sized") {
				dst = binary.AppendVarint(dst, -int64(count))
				dst = binary.AppendVarint(dst, int64(len(items)))
			} else {
				dst = binary.AppendVarint(dst, int64(count))
			}
			dst = append(dst, items...)
			n -= count
		}
		return append(dst, 0)
	}
	return dst
}

// shortBranch returns a branch of a union where data can end, in time.
func (s *Schema) shortBranch(turn int) int {
	for i, b := range s.Branches {
		if b.Type != Record {
			return i
		}
	}
	return turn % len(s.Branches)
}

// drawInteger draws a decimal's integer of one to that many digits.
func drawInteger(t *rapid.T, digits, size int) []byte {
	text := rapid.SliceOfN(rapid.ByteRange('0', '9'), 1, digits).Draw(t, "digits")
	if rapid.IntRange(0, 3).Draw(t, "nines") == 0 {
		text = bytes.Repeat([]byte{'9'}, digits)
	}
	b, ok := appendTwosComplement(nil, rapid.Bool().Draw(t, "sign"), bytes.TrimLeft(text, "0"), size)
	if !ok {
		return make([]byte, size)
	}
	return b
}

// appendLoosely appends a value of a logical type, or one just outside.
func appendLoosely(t *rapid.T, dst []byte, s *Schema) []byte {
	oneOf := rapid.IntRange(0, 2).Draw(t, "loosely")
	if s.Logical.isTimeOfDay() {
		day := 86400 * s.Logical.unitsPerSecond()
		n := rapid.SampledFrom([]int64{0, 1, -1, day - 1, day, day + 1, math.MaxInt32, math.MinInt32}).Draw(t, "n")
		if oneOf == 0 {
			n = rapid.Int64Range(0, day-1).Draw(t, "n")
		}
		return binary.AppendVarint(dst, n)
	}
	var b []byte
	if s.Logical == UUID {
		id := "0190163d-8694-739b-AEA5-966C26F8ad91"
		at, c := rapid.IntRange(0, 35).Draw(t, "at"), rapid.SampledFrom([]byte("-gG0f/:@`\x00\xff")).Draw(t, "char")
		b = []byte(rapid.SampledFrom([]string{
			id, id, id[:at] + string(c) + id[at+1:], id[:35], id + "0", "", "{" + id + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", ""), strings.ReplaceAll(id, "-", "0"),
		}).Draw(t, "uuid"))
		return append(binary.AppendVarint(dst, int64(len(b))), b...)
	}
	switch oneOf {
	case 0:
		b = drawInteger(t, s.Precision, s.Size)
	case 1:
		b = drawInteger(t, s.Precision+2, s.Size)
		if pad := byte(int8(b[0]) >> 7); s.Type == Bytes {
			b = append(bytes.Repeat([]byte{pad}, rapid.IntRange(0, 3).Draw(t, "padding")), b...)
		}
	case 2:
		b = rapid.SliceOfN(rapid.Byte(), s.Size, max(s.Size, 15)).Draw(t, "bytes")
	}
	if s.Type == Fixed {
		return append(dst, b[:s.Size]...)
	}
	return append(binary.AppendVarint(dst, int64(len(b))), b...)
}
