// Package position holds the coordinate that orders events.
//
// A Position says where in the history of a source database an event was
// committed. It travels in one message property together with the ordinal of
// the message in its topic partition, and everything that decides "seen
// already or not" (the daemon's watermark, a projection's gate) compares
// positions and nothing else.
//
// Start with Position, then Digest.
package position

import (
	"errors"
	"fmt"
)

// Property is the name of the message property that carries a Stamp.
const Property = "position"

// Position is (epoch, LSN, index), compared in that order.
//
//   - Epoch numbers the history (system identifier, timeline) that contains
//     the commit; it starts at 1. LSNs of different epochs are not comparable.
//   - LSN is the transaction's commit LSN as Begin carries it: the start of
//     its commit record, known before the first row.
//   - Index is the event's ordinal within its transaction, counted from 0 over
//     all captured rows, whether or not a rule drops them.
//
// The zero value sorts before every event.
type Position struct {
	Epoch uint32
	LSN   uint64
	Index uint32
}

// Beyond is above every position: from there on a partition holds nothing.
var Beyond = Position{Epoch: ^uint32(0)}

// Compare returns -1, 0 or +1 as p sorts before, at or after q.
func (p Position) Compare(q Position) int {
	switch {
	case p.Epoch != q.Epoch:
		return order(p.Epoch < q.Epoch)
	case p.LSN != q.LSN:
		return order(p.LSN < q.LSN)
	case p.Index != q.Index:
		return order(p.Index < q.Index)
	}
	return 0
}

// Less reports whether p sorts before q.
func (p Position) Less(q Position) bool { return p.Compare(q) < 0 }

// Later returns the greater of two positions.
func Later(p, q Position) Position {
	if p.Less(q) {
		return q
	}
	return p
}

// IsZero reports whether p is the position before every event.
func (p Position) IsZero() bool { return p == Position{} }

// String returns the text form without an ordinal: epoch-LSN-index in hex. It
// sorts as bytes like Compare.
func (p Position) String() string {
	return fmt.Sprintf("%08x-%016x-%08x", p.Epoch, p.LSN, p.Index)
}

func order(less bool) int {
	if less {
		return -1
	}
	return 1
}

// Stamp is what a message carries: its position, and its ordinal in the topic
// partition. Ordinals are dense and start at 1; 0 means none.
type Stamp struct {
	Position
	Ordinal uint64
}

// stampLen is the length of the text form of a Stamp.
const stampLen = 8 + 1 + 16 + 1 + 8 + 1 + 16

// ErrMalformed is returned for a text that is not a Stamp or a Position.
var ErrMalformed = errors.New("malformed position")

// String returns the text form of the property:
// `%08x-%016x-%08x-%016x` of epoch, LSN, index and ordinal.
func (s Stamp) String() string {
	return string(s.AppendText(make([]byte, 0, stampLen)))
}

// AppendText appends the text form to dst.
func (s Stamp) AppendText(dst []byte) []byte {
	dst = appendHex(dst, uint64(s.Epoch), 8)
	dst = append(dst, '-')
	dst = appendHex(dst, s.LSN, 16)
	dst = append(dst, '-')
	dst = appendHex(dst, uint64(s.Index), 8)
	dst = append(dst, '-')
	return appendHex(dst, s.Ordinal, 16)
}

// ParseStamp reads the text form of the property. It accepts exactly what
// AppendText writes (lower-case hex, fixed width).
func ParseStamp(text string) (Stamp, error) {
	if len(text) != stampLen || text[8] != '-' || text[25] != '-' || text[34] != '-' {
		return Stamp{}, fmt.Errorf("%w: %.60q", ErrMalformed, text)
	}
	epoch, ok1 := parseHex(text[:8])
	lsn, ok2 := parseHex(text[9:25])
	index, ok3 := parseHex(text[26:34])
	ordinal, ok4 := parseHex(text[35:])
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return Stamp{}, fmt.Errorf("%w: %.60q", ErrMalformed, text)
	}
	return Stamp{Position{uint32(epoch), lsn, uint32(index)}, ordinal}, nil
}

// Parse reads the text form of a Position, as String writes it.
func Parse(text string) (Position, error) {
	if len(text) != stampLen-17 {
		return Position{}, fmt.Errorf("%w: %.60q", ErrMalformed, text)
	}
	s, err := ParseStamp(text + "-0000000000000000")
	return s.Position, err
}

const hexDigits = "0123456789abcdef"

func appendHex(dst []byte, v uint64, width int) []byte {
	for shift := 4 * (width - 1); shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[v>>shift&0xf])
	}
	return dst
}

func parseHex(text string) (uint64, bool) {
	var v uint64
	for i := range len(text) {
		c := text[i]
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}
