package wire

import (
	"encoding/binary"
	"hash/crc32"
	"sync"
	"time"

	"github.com/runnel-cdc/runnel/internal/properties"
)

// Message is what a batch takes. Nothing of it is kept.
type Message struct {
	Key        string
	Payload    []byte // nil is an empty one
	Properties properties.List
	EventTime  int64 // milliseconds since 1970; 0: none
	Size       int   // MessageSize, or an upper bound of it; 0: it is found out
}

// Batch is one entry of a topic in the making: messages of one schema, encoded
// as they are added, behind room for the headers. Not safe for concurrent use.
//
//	 room for the headers                     messages
//	┌──────────┬──────────────────────────┬──────────────────────────────┬────┐
//	│ (unused) │ size SEND magic crc meta │ size metadata payload        │ …  │
//	└──────────┴──────────────────────────┴──────────────────────────────┴────┘
//
// Every message travels in a batch, if need be of one: single messages have
// their properties in the entry's own metadata, where some consumers find no
// schema version.
type Batch struct {
	buf    *buffer // nil: no message yet
	room   int     // bytes of buf before the first message
	scrap  []byte
	key    []byte // of the first message: a copy, as the batch may leave much later
	schema []byte // version
	name   string // producer's
	first  uint64 // sequence id of the first message
	count  int

	padding int // bytes that carry nothing

	compress bool // when it is sealed
	plain    int  // bytes of messages before compression; 0: they are not compressed
}

const (
	// headerRoom is what the headers take at most, without producer and key:
	// sizes and SEND (51), magic, checksum and size (10), metadata (68).
	headerRoom = 51 + 10 + 68

	// Overhead is what a batch adds to its messages as the broker counts them
	// against the maximum message size, at most: producer's name and first key
	// come on top.
	Overhead = 10 + 68

	magicChecksum = 0x0e01 // (spec, "Framing": a CRC32C follows)
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	batches    = sync.Pool{New: func() any { return new(Batch) }}
)

// NewBatch returns an empty batch of a producer, of messages of one schema's
// version; nil: of none.
func NewBatch(producer string, schema []byte) *Batch {
	b := batches.Get().(*Batch)
	b.name, b.schema = producer, schema
	return b
}

// Free gives the buffer back. Producer.Send does it for what it was given.
func (b *Batch) Free() {
	if b.buf != nil {
		b.buf.put()
	}
	*b = Batch{scrap: b.scrap[:0], key: b.key[:0]}
	batches.Put(b)
}

// Count returns the number of messages.
func (b *Batch) Count() int { return b.count }

// Size returns what the batch takes of the maximum message size at most, in bytes.
func (b *Batch) Size() int {
	return b.messages() + Overhead + len(b.name) + len(b.key)
}

// messages is the size of all of them.
func (b *Batch) messages() int {
	if b.buf == nil {
		return 0
	}
	return len(b.buf.bytes) - b.room
}

// SealedSize returns what the broker will count against the maximum message size.
func (b *Batch) SealedSize() int {
	size := b.messages()
	last := b.first + uint64(b.count) - 1
	n := 2 + 4 + 4 + size // magic, checksum, size of the metadata
	n += fieldSize(len(b.name)) + 1 + uvarintSize(b.first) + 1 + timeSize
	if len(b.key) > 0 {
		n += fieldSize(len(b.key))
	}
	n += 1 + uvarintSize(uint64(size)) + 1 + uvarintSize(uint64(b.count))
	if b.schema != nil {
		n += 1 + fieldSize(len(b.schema)) // numbers above 15 take two bytes
	}
	if b.count > 1 {
		n += 2 + uvarintSize(last)
	}
	if b.padding > 0 {
		n += fieldSize(b.paddingSize())
	}
	return n
}

// timeSize is the size of the milliseconds since 1970, from 1974 to 2109.
const timeSize = 6

// Pad makes a sealed batch as large as size, or up to ten bytes larger, unless it is already: by
// a property of the entry, which no consumer shows of a batch.
func (b *Batch) Pad(size int) {
	if b.SealedSize() < size {
		b.padding = 1
		b.padding += max(0, size-b.SealedSize())
		for b.padding > 1 && b.SealedSize() > size { // its length takes bytes, too
			if b.padding--; b.SealedSize() < size {
				b.padding++
				break
			}
		}
		grown := b.paddingSize() + 8
		b.reserve(grown)
		buf := b.buf.bytes
		b.buf.bytes = buf[:len(buf)+grown]
		copy(b.buf.bytes[b.room+grown:], buf[b.room:])
		b.room += grown
	}
}

// paddingSize is the size of the KeyValue that pads.
func (b *Batch) paddingSize() int { return fieldSize(0) + fieldSize(b.padding) }

// MessageSize returns what a message adds to its batch, in bytes; the first one
// adds its key once more.
func (m *Message) MessageSize(sequence uint64) int {
	meta := m.metadataSize(sequence)
	return 4 + meta + len(m.Payload)
}

// metadataSize is the exact size of a SingleMessageMetadata.
func (m *Message) metadataSize(sequence uint64) int {
	n := 0
	for i := range m.Properties {
		p := &m.Properties[i]
		n += fieldSize(fieldSize(len(p.Name)) + fieldSize(len(p.Value)))
	}
	if m.Key != "" {
		n += fieldSize(len(m.Key))
	}
	if m.EventTime != 0 {
		n += 1 + uvarintSize(uint64(m.EventTime))
	}
	return n + 1 + uvarintSize(uint64(len(m.Payload))) + 1 + uvarintSize(sequence)
}

// fieldSize is the size of a field with a length, whose number is below 16.
func fieldSize(length int) int { return 1 + uvarintSize(uint64(length)) + length }

// Tags of SingleMessageMetadata and KeyValue (proto), and of no others: a field's
// number and how it is encoded, in one byte.
const (
	tagProperty    = 1<<3 | wireBytes
	tagKey         = 2<<3 | wireBytes
	tagPayloadSize = 3<<3 | wireVarint
	tagEventTime   = 5<<3 | wireVarint
	tagSequence    = 8<<3 | wireVarint
	tagName        = 1<<3 | wireBytes
	tagValue       = 2<<3 | wireBytes
)

// reserve makes room for so many bytes more.
func (b *Batch) reserve(n int) {
	switch {
	case b.buf == nil:
		b.buf = takeBuffer(n)
	case cap(b.buf.bytes)-len(b.buf.bytes) < n:
		larger := takeBuffer(len(b.buf.bytes) + n)
		larger.bytes = append(larger.bytes, b.buf.bytes...)
		b.buf.put()
		b.buf = larger
	}
}

// Add encodes a message behind those that are there.
func (b *Batch) Add(sequence uint64, m *Message) {
	size := m.Size
	if size == 0 {
		size = m.MessageSize(sequence)
	}
	if b.count == 0 {
		b.first, b.key = sequence, append(b.key[:0], m.Key...)
		b.room = headerRoom + len(b.name) + len(b.key)
		b.reserve(b.room + size)
		b.buf.bytes = b.buf.bytes[:b.room]
	}
	b.reserve(size)
	b.count++
	start := len(b.buf.bytes)
	dst := append(b.buf.bytes, 0, 0, 0, 0)
	for i := range m.Properties {
		p := &m.Properties[i]
		dst = append(dst, tagProperty)
		dst = binary.AppendUvarint(dst, uint64(fieldSize(len(p.Name))+fieldSize(len(p.Value))))
		dst = append(dst, tagName)
		dst = binary.AppendUvarint(dst, uint64(len(p.Name)))
		dst = append(dst, p.Name...)
		dst = append(dst, tagValue)
		dst = binary.AppendUvarint(dst, uint64(len(p.Value)))
		dst = append(dst, p.Value...)
	}
	if m.Key != "" {
		dst = append(dst, tagKey)
		dst = binary.AppendUvarint(dst, uint64(len(m.Key)))
		dst = append(dst, m.Key...)
	}
	dst = append(dst, tagPayloadSize)
	dst = binary.AppendUvarint(dst, uint64(len(m.Payload)))
	if m.EventTime != 0 {
		dst = append(dst, tagEventTime)
		dst = binary.AppendUvarint(dst, uint64(m.EventTime))
	}
	dst = append(dst, tagSequence)
	dst = binary.AppendUvarint(dst, sequence)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	b.buf.bytes = append(dst, m.Payload...)
}

// seal writes the headers and returns the whole frame, which is valid until
// Free. (spec, "Payload commands")
func (b *Batch) seal(producer uint64, now time.Time) []byte {
	if b.compress {
		b.pack()
	}
	size := b.messages()
	if b.plain > 0 {
		size = b.plain
	}
	last := b.first + uint64(b.count) - 1

	// SEND. With highest_sequence_id the broker's deduplication knows all of the
	// batch's ids, and PRODUCER_SUCCESS tells the next run the last of them.
	s := append(b.scrap[:0], 1<<3|wireVarint, byte(cmdSend), byte(cmdSend)<<3|wireBytes, 0)
	s = appendUint(s, 1, producer)
	s = appendUint(s, 2, b.first)
	s = appendUint(s, 3, uint64(b.count)) // num_messages
	if b.count > 1 {
		s = appendUint(s, 6, last) // highest_sequence_id
	}
	s[3] = byte(len(s) - 4)
	command := len(s)

	// MessageMetadata
	s = appendBytes(s, 1, b.name)
	s = appendUint(s, 2, b.first)
	s = appendUint(s, 3, uint64(now.UnixMilli())) // publish_time
	if b.padding > 0 {                            // properties
		s = binary.AppendUvarint(append(s, 4<<3|wireBytes), uint64(b.paddingSize()))
		s = appendBytes(s, 1, "")
		s = appendBytes(s, 2, make([]byte, b.padding))
	}
	if len(b.key) > 0 {
		s = appendBytes(s, 6, b.key) // partition_key: of the first, for Key_Shared subscriptions
	}
	if b.plain > 0 {
		s = appendUint(s, 8, compressionLZ4) // compression
	}
	s = appendUint(s, 9, uint64(size))     // uncompressed_size
	s = appendUint(s, 11, uint64(b.count)) // num_messages_in_batch: this is a batch, also of one
	if b.schema != nil {
		s = appendBytes(s, 16, b.schema) // schema_version
	}
	if b.count > 1 {
		s = appendUint(s, 24, last) // highest_sequence_id
	}
	b.scrap = s
	meta := s[command:]

	start := b.room - (8 + command + 2 + 4 + 4 + len(meta))
	frame := b.buf.bytes[start:]
	at := frame
	binary.BigEndian.PutUint32(at, uint32(len(frame)-4))
	binary.BigEndian.PutUint32(at[4:], uint32(command))
	at = at[8+copy(at[8:], s[:command]):]
	binary.BigEndian.PutUint16(at, magicChecksum)
	checked := at[6:]
	binary.BigEndian.PutUint32(checked, uint32(len(meta)))
	copy(checked[4:], meta)
	binary.BigEndian.PutUint32(at[2:], crc32.Checksum(checked, castagnoli))
	return frame
}
