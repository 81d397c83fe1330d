package avro

import (
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"
)

// Bounds of what is appended. They lie well inside those of schemas.Validate,
// which every event passes on its way, and these inside the Reader's: what was
// written passes, and what passes can be read.
const (
	// MaxAppendDepth is how deep records, arrays and maps may nest in a
	// recursive type.
	MaxAppendDepth = 256
	// MaxAppendEmpty is how many items of zero bytes (null, or a record without
	// fields) an array may hold.
	MaxAppendEmpty = 1 << 14
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

// CheckDepth fails from MaxAppendDepth on; a Go value that points to itself
// ends here and not in a stack overflow.
func CheckDepth(depth int) error {
	if depth >= MaxAppendDepth {
		return ErrValue.New("nested more than %d deep", MaxAppendDepth)
	}
	return nil
}

// CheckEmptyItems fails for an array of more than MaxAppendEmpty items of zero
// bytes.
func CheckEmptyItems(n int) error {
	if n > MaxAppendEmpty {
		return ErrValue.New("%d items without content; at most %d", n, MaxAppendEmpty)
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
