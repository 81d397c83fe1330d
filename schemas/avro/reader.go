package avro

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// Bounds of what is read, beyond the number of bytes.
const (
	// MaxReadDepth is how many records of recursive types may nest.
	MaxReadDepth = 512
	// MaxReadEmpty is how many array items of zero bytes a value may hold.
	MaxReadEmpty = 1 << 16
)

// Reader reads Avro values from bytes of unknown origin. The first failure
// sticks: every later read returns a zero value, and Close reports it. A Reader
// belongs to one goroutine.
//
// Invariants:
//
//  1. What is read was there: no length, count or block size is believed beyond
//     the bytes that remain.
//  2. Memory and time are bounded by the length of the input, MaxReadDepth
//     and MaxReadEmpty.
//  3. Nothing returned aliases the input.
type Reader struct {
	rest  []byte
	err   *fault.Error
	size  int // of the whole input, for offsets in messages
	depth int
	empty int // items of zero bytes so far
}

// NewReader returns a Reader over data, which must not change while reading.
func NewReader(data []byte) Reader { return Reader{rest: data, size: len(data)} }

// Close returns the first failure, or ErrData when bytes are left over.
func (r *Reader) Close() error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail("%d bytes follow the value", len(r.rest))
	}
	if r.err == nil {
		return nil // never a typed nil
	}
	return r.err
}

// Failed tells whether a read has failed and, if so, puts the field's name
// before the path of the failure. Call it once per level, then return.
func (r *Reader) Failed(field string) bool {
	if r.err == nil {
		return false
	}
	r.err.Where = join(field, r.err.Where)
	return true
}

// FailedIndex is Failed for an array item.
func (r *Reader) FailedIndex(i int) bool {
	return r.err != nil && r.Failed("["+strconv.Itoa(i)+"]")
}

// FailedKey is Failed for a map value.
func (r *Reader) FailedKey(key string) bool {
	return r.err != nil && r.Failed(quoteKey(key))
}

// Boolean reads an Avro boolean: a byte of 0 or 1.
func (r *Reader) Boolean() bool {
	b := r.take(1)
	if b == nil {
		return false
	}
	if b[0] > 1 {
		r.fail("a boolean of %d", b[0])
		return false
	}
	return b[0] == 1
}

// Int reads an Avro int of at most 5 bytes.
func (r *Reader) Int() int32 {
	before := len(r.rest)
	v := r.Long()
	if v != int64(int32(v)) || before-len(r.rest) > binary.MaxVarintLen32 {
		r.fail("%d is outside the range of an int", v)
		return 0
	}
	return int32(v)
}

// Long reads an Avro long of at most 10 bytes.
func (r *Reader) Long() int64 {
	if r.err != nil {
		return 0
	}
	if len(r.rest) > 0 && r.rest[0] < 0x80 {
		u := r.rest[0]
		r.rest = r.rest[1:]
		return int64(u>>1) ^ -int64(u&1)
	}
	u, n := binary.Uvarint(r.rest)
	if n <= 0 {
		if n == 0 && len(r.rest) < binary.MaxVarintLen64 {
			r.fail("ends within a number")
		} else {
			r.fail("a number of more than 64 bits")
		}
		return 0
	}
	r.rest = r.rest[n:]
	return int64(u>>1) ^ -int64(u&1)
}

// Float reads an Avro float.
func (r *Reader) Float() float32 {
	if b := r.take(4); b != nil {
		return math.Float32frombits(binary.LittleEndian.Uint32(b))
	}
	return 0
}

// Double reads an Avro double.
func (r *Reader) Double() float64 {
	if b := r.take(8); b != nil {
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return 0
}

// Bytes reads Avro bytes into a new slice, which is never nil unless it failed.
func (r *Reader) Bytes() []byte {
	b := r.chunk()
	if b == nil {
		return nil
	}
	return append(make([]byte, 0, len(b)), b...)
}

// String reads an Avro string, which must be UTF-8.
func (r *Reader) String() string {
	b := r.chunk()
	if !utf8.Valid(b) {
		r.fail("a string of %d bytes is not UTF-8", len(b))
		return ""
	}
	return string(b)
}

// Fixed fills dst with the next len(dst) bytes.
func (r *Reader) Fixed(dst []byte) { copy(dst, r.take(len(dst))) }

// Index reads the branch of a union, or the symbol of an enum, of n; -1 if it
// failed.
func (r *Reader) Index(n int) int {
	v := r.Long()
	if r.err != nil {
		return -1
	}
	if v < 0 || v >= int64(n) {
		r.fail("branch or symbol %d of %d", v, n)
		return -1
	}
	return int(v)
}

// Block reads the head of the next block of an array or map and returns how
// many items follow; 0 at the end or after a failure. itemSize is the least
// number of bytes an item takes, which bounds the count.
func (r *Reader) Block(itemSize int) int {
	n := r.Long()
	if n < 0 {
		// A negative count announces the block's size in bytes, for skipping.
		size := r.Long()
		if size < 0 || size > int64(len(r.rest)) || n == math.MinInt64 {
			r.fail("a block of %d bytes where %d remain", size, len(r.rest))
			return 0
		}
		n = -n
	}
	switch {
	case r.err != nil:
		return 0
	case itemSize > 0 && n > int64(len(r.rest)/itemSize):
		r.fail("a block of %d items of at least %d bytes where %d bytes remain", n, itemSize, len(r.rest))
		return 0
	case itemSize == 0 && n > int64(MaxReadEmpty-r.empty):
		r.fail("more than %d items without content", MaxReadEmpty)
		return 0
	case itemSize == 0:
		r.empty += int(n)
	}
	return int(n)
}

// Enter begins a record of a recursive type; it fails beyond MaxReadDepth.
func (r *Reader) Enter() bool {
	if r.depth++; r.depth > MaxReadDepth {
		r.fail("nests deeper than %d records of a recursive type", MaxReadDepth)
	}
	return r.err == nil
}

// Leave ends a record that Enter began.
func (r *Reader) Leave() { r.depth-- }

// chunk reads a length and that many bytes, without copying.
func (r *Reader) chunk() []byte {
	n := r.Long()
	if r.err == nil && (n < 0 || n > int64(len(r.rest))) {
		r.fail("a length of %d bytes where %d remain", n, len(r.rest))
	}
	return r.take(int(n))
}

// take returns the next n bytes; nil only if it failed.
func (r *Reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n > len(r.rest) {
		r.fail("needs %d bytes where %d remain", n, len(r.rest))
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	if b == nil {
		return []byte{} // a nil input holds zero bytes just as well
	}
	return b
}

func (r *Reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = ErrData.New("at byte %d: "+format, append([]any{r.size - len(r.rest)}, args...)...)
	}
}
