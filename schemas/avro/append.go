package avro

import (
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"
)

// Limits that appending and reading share, so that what was written can be read.
const (
	// MaxDepth is how deep records of a recursive type may nest.
	MaxDepth = 64
	// MaxEmptyItems is how many array items of zero bytes (null, or a record
	// without fields) one event may hold.
	MaxEmptyItems = 1 << 16
)

// AppendBoolean appends v as an Avro boolean.
func AppendBoolean(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// AppendInt appends v as an Avro int.
func AppendInt(dst []byte, v int32) []byte { return AppendLong(dst, int64(v)) }

// AppendLong appends v as an Avro long; also counts, lengths and union branches.
func AppendLong(dst []byte, v int64) []byte {
	return binary.AppendUvarint(dst, uint64(v)<<1^uint64(v>>63))
}

// AppendFloat appends v as an Avro float, with every bit kept.
func AppendFloat(dst []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(v))
}

// AppendDouble appends v as an Avro double, with every bit kept.
func AppendDouble(dst []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// AppendBytes appends v as Avro bytes; nil is the same as empty.
func AppendBytes(dst, v []byte) []byte {
	return append(AppendLong(dst, int64(len(v))), v...)
}

// AppendString appends v as an Avro string, which must be UTF-8.
func AppendString(dst []byte, v string) ([]byte, error) {
	if !utf8.ValidString(v) {
		return dst, ErrValue.New("a string of %d bytes is not UTF-8", len(v))
	}
	return append(AppendLong(dst, int64(len(v))), v...), nil
}

// CheckDepth fails at the depth that a Reader would refuse; a Go value that
// points to itself ends here and not in a stack overflow.
func CheckDepth(depth int) error {
	if depth > MaxDepth {
		return ErrValue.New("nests deeper than %d records of a recursive type", MaxDepth)
	}
	return nil
}

// CheckEmptyItems fails for an array with more items of zero bytes than a
// Reader accepts.
func CheckEmptyItems(n int) error {
	if n > MaxEmptyItems {
		return ErrValue.New("%d items without content; at most %d", n, MaxEmptyItems)
	}
	return nil
}

// SortedKeys appends the keys of m to buf in ascending order: a map has one
// encoding. It does not allocate while they fit in buf's capacity.
func SortedKeys[V any](buf []string, m map[string]V) []string {
	for k := range m {
		buf = append(buf, k)
	}
	slices.Sort(buf)
	return buf
}
