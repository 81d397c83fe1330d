// Package token is the text by which a writer's receipt travels to a reader
// who wants to see that write: outbox makes it, consumers read it.
//
//	base64url( version | epoch | LSN | types | events )
//
// Start with Token.
package token

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Token says what to wait for.
//
// A projection has applied an event if it passed the event's id, or if its
// position in the partition of the event's own key is of the same epoch, at or
// past LSN, and a commit's. At a later epoch the event was applied or lost. With
// Epoch 0 only the id proves anything.
type Token struct {
	Epoch  uint32 // of the timeline at LSN; 0: not recorded when the token was made
	LSN    uint64 // WAL insert position read after the commit: at or past the events' own
	Events []Event
}

// Event is one event to wait for. Events of the same types and key hash are
// represented by the last one: they share a partition.
type Event struct {
	ID            [16]byte
	AggregateType string
	Type          string
	KeyHash       uint32 // KeyHash(aggregate id)
}

// Partition returns the event's partition in a topic of n partitions, n >= 1.
func (e Event) Partition(n int) int { return int(e.KeyHash) % n }

// MaxEvents is the largest number of events in a token.
const MaxEvents = 64

const (
	version = 1
	maxName = 255
	maxText = 64 << 10 // far above what MaxEvents can need
)

// Errors of Encode and Decode.
var (
	ErrMalformed = errors.New("malformed token")
	ErrTooMany   = fmt.Errorf("more than %d events", MaxEvents)
)

// Encode returns the text form: characters of base64url without padding.
func (t Token) Encode() (string, error) {
	if len(t.Events) > MaxEvents {
		return "", ErrTooMany
	}
	type names struct{ aggregate, event string }
	index := map[names]int{}
	var order []names
	for _, e := range t.Events {
		key := names{e.AggregateType, e.Type}
		if _, ok := index[key]; !ok {
			if len(key.aggregate) > maxName || len(key.event) > maxName {
				return "", fmt.Errorf("%w: a name longer than %d bytes", ErrMalformed, maxName)
			}
			index[key] = len(order)
			order = append(order, key)
		}
	}
	b := []byte{version}
	b = binary.AppendUvarint(b, uint64(t.Epoch))
	b = binary.BigEndian.AppendUint64(b, t.LSN)
	b = append(b, byte(len(order)))
	for _, n := range order {
		b = append(append(b, byte(len(n.aggregate))), n.aggregate...)
		b = append(append(b, byte(len(n.event))), n.event...)
	}
	b = append(b, byte(len(t.Events)))
	for _, e := range t.Events {
		b = append(b, byte(index[names{e.AggregateType, e.Type}]))
		b = binary.BigEndian.AppendUint32(b, e.KeyHash)
		b = append(b, e.ID[:]...)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// Decode reads what Encode wrote. Anything else is ErrMalformed.
func Decode(text string) (Token, error) {
	if len(text) > maxText {
		return Token{}, fmt.Errorf("%w: %d characters", ErrMalformed, len(text))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	r := reader{rest: b}
	if v := r.byte(); r.bad || v != version {
		return Token{}, fmt.Errorf("%w: version %d, want %d", ErrMalformed, v, version)
	}
	var t Token
	epoch := r.uvarint()
	if epoch > math.MaxUint32 {
		r.bad = true
	}
	t.Epoch, t.LSN = uint32(epoch), r.uint64()
	count := int(r.byte())
	if count > MaxEvents {
		return Token{}, ErrMalformed
	}
	names := make([][2]string, count)
	for i := range names {
		names[i] = [2]string{r.text(), r.text()}
	}
	n := int(r.byte())
	if n > MaxEvents || r.bad {
		return Token{}, ErrMalformed
	}
	for range n {
		i, hash, id := int(r.byte()), r.uint32(), r.take(16)
		if r.bad || i >= len(names) || hash > math.MaxInt32 {
			return Token{}, ErrMalformed
		}
		t.Events = append(t.Events, Event{ID: [16]byte(id), AggregateType: names[i][0], Type: names[i][1], KeyHash: hash})
	}
	if r.bad || len(r.rest) > 0 {
		return Token{}, ErrMalformed
	}
	return t, nil
}

// reader takes values off rest; bad stays true after the first shortage.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.rest) {
		r.bad = true
		return make([]byte, n) // n is at most 255
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte     { return r.take(1)[0] }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) text() string   { return string(r.take(int(r.byte()))) }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.take(n)
	return v
}
