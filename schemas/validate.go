package schemas

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of data, whatever its schema.
const (
	maxDataDepth = 512     // records, arrays and maps inside each other
	maxFreeItems = 1 << 16 // items of a value that take no byte each, such as nulls
)

// Validate walks data, which must be exactly one value of s in Avro binary. It
// checks what a decoder would trip over: lengths and counts against the bytes
// left, varints against their type, booleans, enum and union indexes, UTF-8,
// nesting, bytes left over, and logical types: the text of a uuid, the digits of a
// decimal, that a time of day is one. It allocates nothing unless data is invalid.
//
// Invariant: what Validate accepts, generated DecodeAvro and AppendAvroToJSON
// accept, and what any part of Runnel writes (AppendJSONToAvro, Resolver, a
// generated AppendAvro, a default) Validate accepts.
//
// The error is ErrInvalidAvro with path and offset.
func Validate(s *Schema, data []byte) error {
	w := walker{data: data, free: maxFreeItems}
	end := w.value(s, 0, 0)
	if end == len(data) {
		return nil
	}
	if end >= 0 {
		w.fail(end, badTrailing)
	}
	return w.error()
}

// walker skips values of a schema. A negative offset is a failure, whose path
// grows on the way out.
type walker struct {
	data   []byte
	free   int
	at     int
	reason badData
	schema *Schema
	length int64
	path   []step
}

// step is a part of a path: a field, a key or an index.
type step struct {
	name  string
	index int // -1 for a field, -2 for a key
}

const (
	stepField = -1
	stepKey   = -2
)

type badData uint8

const (
	badEnd badData = iota + 1
	badTrailing
	badVarint
	badBoolean
	badLength
	badCount
	badBlock
	badUTF8
	badSymbol
	badBranch
	badDepth
	badFree
	badUUID
	badTime
	badDigits
	badResult // of a resolution
)

func (w *walker) fail(off int, reason badData) int {
	w.at, w.reason = off, reason
	return -1
}

func (w *walker) failIn(s *Schema, off int, reason badData, length int64) int {
	w.schema, w.length = s, length
	return w.fail(off, reason)
}

// long reads a varint of up to 64 bits.
func (w *walker) long(off int) (int64, int) {
	if off < len(w.data) && w.data[off] < 0x80 {
		u := w.data[off]
		return int64(u>>1) ^ -int64(u&1), off + 1
	}
	return w.longSlow(off)
}

func (w *walker) longSlow(off int) (int64, int) {
	var u uint64
	for i := 0; i < 10; i++ {
		if off+i >= len(w.data) {
			return 0, w.fail(len(w.data), badEnd)
		}
		b := w.data[off+i]
		if i == 9 && b > 1 {
			break
		}
		u |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return int64(u>>1) ^ -int64(u&1), off + i + 1
		}
	}
	return 0, w.fail(off, badVarint)
}

// value returns the offset after the value of s at off, or a negative one.
func (w *walker) value(s *Schema, off, depth int) int {
	switch s.Type {
	case Null:
		return off
	case Boolean:
		if off >= len(w.data) {
			return w.fail(off, badEnd)
		}
		if w.data[off] > 1 {
			return w.fail(off, badBoolean)
		}
		return off + 1
	case Int:
		n, next := w.long(off)
		if next >= 0 && (n < math.MinInt32 || n > math.MaxInt32 || next-off > 5) {
			return w.fail(off, badVarint)
		}
		if s.Logical == TimeMillis && uint64(n) >= millisPerDay && next >= 0 {
			return w.failIn(s, off, badTime, n)
		}
		return next
	case Long:
		n, next := w.long(off)
		if s.Logical == TimeMicros && uint64(n) >= microsPerDay && next >= 0 {
			return w.failIn(s, off, badTime, n)
		}
		return next
	case Float:
		return w.skip(s, off, 4)
	case Double:
		return w.skip(s, off, 8)
	case Fixed:
		end := w.skip(s, off, s.Size)
		if s.Logical == Decimal && end >= 0 && !s.holdsDecimal(w.data[off:end]) {
			return w.failIn(s, off, badDigits, int64(s.Size))
		}
		return end
	case Bytes, String:
		return w.text(s, off)
	case Enum:
		n, next := w.long(off)
		if next >= 0 && uint64(n) >= uint64(len(s.Symbols)) {
			return w.failIn(s, off, badSymbol, n)
		}
		return next
	case Union:
		n, next := w.long(off)
		if next < 0 {
			return next
		}
		if uint64(n) >= uint64(len(s.Branches)) {
			return w.failIn(s, off, badBranch, n)
		}
		return w.value(s.Branches[n], next, depth)
	case Record:
		return w.record(s, off, depth)
	case Array, Map:
		return w.blocks(s, off, depth)
	}
	return w.fail(off, badEnd)
}

func (w *walker) skip(s *Schema, off, n int) int {
	if len(w.data)-off < n {
		return w.failIn(s, off, badLength, int64(n))
	}
	return off + n
}

func (w *walker) text(s *Schema, off int) int {
	n, next := w.long(off)
	if next < 0 {
		return next
	}
	if uint64(n) > uint64(len(w.data)-next) {
		return w.failIn(s, off, badLength, n)
	}
	end := next + int(n)
	if s.Logical != NoLogical {
		return w.logicalText(s, next, end)
	}
	if s.Type == String && !utf8.Valid(w.data[next:end]) {
		return w.fail(next, badUTF8)
	}
	return end
}

// logicalText checks a uuid or a decimal.
func (w *walker) logicalText(s *Schema, from, end int) int {
	switch b := w.data[from:end]; {
	case s.Logical == UUID && !isUUID(b):
		return w.fail(from, badUUID)
	case s.Logical == Decimal && !s.holdsDecimal(b):
		return w.failIn(s, from, badDigits, int64(len(b)))
	}
	return end
}

func (w *walker) record(s *Schema, off, depth int) int {
	if depth >= maxDataDepth {
		return w.fail(off, badDepth)
	}
	start := off
	for _, f := range s.Fields {
		if off = w.value(f.Type, off, depth+1); off < 0 {
			w.path = append(w.path, step{f.Name, stepField})
			return off
		}
	}
	if off == start {
		// A record that takes no bytes still takes time, and a schema can hold
		// very many of them in few lines.
		if w.free--; w.free < 0 {
			return w.fail(off, badFree)
		}
	}
	return off
}

// keySchema is the type of a map's keys.
var keySchema = &Schema{Type: String}

func (w *walker) blocks(s *Schema, off, depth int) int {
	if depth >= maxDataDepth {
		return w.fail(off, badDepth)
	}
	for index := 0; ; {
		at := off
		count, next := w.long(off)
		if next < 0 {
			return next
		}
		off = next
		end := -1
		if count < 0 {
			var size int64
			if size, next = w.long(off); next < 0 {
				return next
			}
			if uint64(size) > uint64(len(w.data)-next) {
				return w.failIn(s, off, badLength, size)
			}
			off, end = next, next+int(size)
			count = -count
		}
		if count == 0 {
			return off
		}
		if count < 0 || count > int64(len(w.data)-off)+int64(max(w.free, 0)) {
			return w.failIn(s, at, badCount, count)
		}
		for ; count > 0; count-- {
			if off = w.item(s, off, depth, index); off < 0 {
				return off
			}
			index++
		}
		if end >= 0 && off != end {
			return w.fail(at, badBlock)
		}
	}
}

// item reads an array's item, or a map's key and value.
func (w *walker) item(s *Schema, off, depth, index int) int {
	start := off
	at := step{index: index}
	if s.Type == Map {
		if off = w.text(keySchema, off); off < 0 {
			w.path = append(w.path, at)
			return off
		}
	}
	key := off
	if off = w.value(s.Items, off, depth+1); off < 0 {
		if s.Type == Map {
			_, from := w.long(start)
			at = step{name: string(w.data[from:key]), index: stepKey}
		}
		w.path = append(w.path, at)
		return off
	}
	if off == start && s.Items.Type != Record { // a record has counted itself
		if w.free--; w.free < 0 {
			return w.fail(off, badFree)
		}
	}
	return off
}

func (w *walker) error() error {
	return ErrInvalidAvro.New("%s: %s (at byte %d of %d)", pathText(w.path), w.explain(), w.at, len(w.data))
}

func (w *walker) explain() string {
	n := strconv.FormatInt(w.length, 10)
	switch w.reason {
	case badEnd:
		return "the data ends too early"
	case badTrailing:
		return strconv.Itoa(len(w.data)-w.at) + " bytes are left over"
	case badVarint:
		return "the number is out of its type's range"
	case badBoolean:
		return "a boolean is 0 or 1"
	case badLength:
		return "a length of " + n + " for " + w.schema.describe() + " is more than the data holds"
	case badCount:
		return "a count of " + n + " is more than the data can hold"
	case badBlock:
		return "a block's size does not agree with its items"
	case badUTF8:
		return "a string is not UTF-8"
	case badSymbol:
		return w.schema.describe() + " has no symbol " + n
	case badBranch:
		return "the union has no branch " + n
	case badUUID:
		return "a uuid is 36 characters, as 01234567-89ab-cdef-0123-456789abcdef"
	case badTime:
		return n + " is not a time of day, as " + w.schema.describe() + " is"
	case badDigits:
		if w.length == 0 {
			return "a decimal of no bytes"
		}
		return "a decimal of more than " + strconv.Itoa(w.schema.Precision) + " digits"
	case badResult:
		return "more than " + strconv.Itoa(maxResolvedBytes) + " bytes under the reader's schema"
	case badDepth:
		return "nested more than " + strconv.Itoa(maxDataDepth) + " deep"
	}
	return "more than " + strconv.Itoa(maxFreeItems) + " items without content"
}

// pathText writes steps, innermost first, as a JSON path.
func pathText(path []step) string {
	var b strings.Builder
	b.WriteByte('$')
	for i := len(path) - 1; i >= 0; i-- {
		switch p := path[i]; p.index {
		case stepField:
			b.WriteByte('.')
			b.WriteString(p.name)
		case stepKey:
			b.WriteByte('[')
			b.Write(appendQuoted(nil, p.name))
			b.WriteByte(']')
		default:
			b.WriteByte('[')
			b.WriteString(strconv.Itoa(p.index))
			b.WriteByte(']')
		}
	}
	return b.String()
}
