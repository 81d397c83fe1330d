package deadletter

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/runnel-cdc/runnel/internal/position"
)

// Properties of the topic's messages, beside id, type and position.
const (
	propertyID        = "id"   // of the event; as in every topic, so that the start's audit finds it
	propertyType      = "type" // EventParked or EventReleased
	propertyRank      = "rank"
	propertyFloor     = "floor"
	propertyAggregate = "aggregate_type"
	propertyKey       = "aggregate_id"
	propertyEvent     = "event_type"
	propertyEncoding  = "encoding"
	propertySchema    = "fingerprint"
	propertyHeaders   = "headers"
	propertyOccurred  = "occurred_at"  // microseconds since 1970
	propertyCommitted = "committed_at" // microseconds since 1970
	propertyCode      = "error_code"
	propertyReason    = "error"
	propertyPacked    = "compression"
)

// Values of the property `type`.
const (
	EventParked   = "runnel.parked"
	EventReleased = "runnel.released"
)

// Key names an aggregate.
type Key struct {
	AggregateType string
	AggregateID   string
}

// Entry is what a Log keeps of a parked event.
type Entry struct {
	Position position.Position // of its row: what names it
	// Rank is its place among the events of its aggregate: its own position, or, of one
	// that was retried and failed again, the position at which it was parked first.
	Rank      position.Position
	ID        [16]byte
	Key       Key
	Committed int64 // when its transaction was, in microseconds since 1970; of one that was retried, the first
}

// Letter is a parked event, with everything that it takes to publish it again.
type Letter struct {
	Entry
	EventType   string
	Encoding    uint8 // as in runnel.outbox
	Fingerprint [32]byte
	Headers     []byte
	OccurredAt  int64 // microseconds since 1970
	Code        string
	Reason      string
	Payload     []byte
}

// maxReason bounds the text of a reason, in bytes.
const maxReason = 2000

// Properties returns a letter's properties, but for the stamp. floor is the lowest position
// that is parked, the letter's included.
func (l *Letter) Properties(floor position.Position) map[string]string {
	p := map[string]string{
		propertyID: formatID(l.ID), propertyType: EventParked,
		propertyRank: l.Rank.String(), propertyFloor: floor.String(),
		propertyAggregate: l.Key.AggregateType, propertyKey: l.Key.AggregateID, propertyEvent: l.EventType,
		propertyEncoding:  strconv.Itoa(int(l.Encoding)),
		propertyHeaders:   string(l.Headers),
		propertyOccurred:  strconv.FormatInt(l.OccurredAt, 10),
		propertyCommitted: strconv.FormatInt(l.Committed, 10),
		propertyCode:      l.Code,
		propertyReason:    strings.ToValidUTF8(l.Reason[:min(len(l.Reason), maxReason)], ""),
	}
	if l.Fingerprint != [32]byte{} {
		p[propertySchema] = hex.EncodeToString(l.Fingerprint[:])
	}
	return p
}

// Pack compresses a payload that is too large for the topic as it is, and says so in the
// letter's properties.
func Pack(payload []byte, properties map[string]string) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(payload); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	properties[propertyPacked] = "gzip"
	return b.Bytes(), nil
}

// maxPayload bounds what a compressed payload may become: a column of Postgres holds no more.
const maxPayload = 1 << 30

func unpack(payload []byte, properties map[string]string) ([]byte, error) {
	switch properties[propertyPacked] {
	case "":
		return payload, nil
	case "gzip":
	default:
		return nil, fmt.Errorf("the compression is %.40q", properties[propertyPacked])
	}
	r, err := gzip.NewReader(bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, maxPayload+1))
	if err == nil && len(out) > maxPayload {
		err = errors.New("the payload is larger than a column")
	}
	return out, err
}

// ParseEntry reads what a Log needs of a parked event.
func ParseEntry(at position.Position, properties map[string]string) (Entry, error) {
	e := Entry{Position: at, Key: Key{properties[propertyAggregate], properties[propertyKey]}}
	var err error
	if e.ID, err = parseID(properties[propertyID]); err != nil {
		return e, err
	}
	if e.Rank, err = position.Parse(properties[propertyRank]); err != nil {
		return e, fmt.Errorf("rank: %w", err)
	}
	if e.Committed, err = strconv.ParseInt(properties[propertyCommitted], 10, 64); err != nil {
		return e, fmt.Errorf("%s: %w", propertyCommitted, err)
	}
	return e, nil
}

// ParseLetter reads a parked event.
func ParseLetter(at position.Position, payload []byte, properties map[string]string) (*Letter, error) {
	e, err := ParseEntry(at, properties)
	if err != nil {
		return nil, err
	}
	l := &Letter{Entry: e, EventType: properties[propertyEvent], Headers: []byte(properties[propertyHeaders]),
		Code: properties[propertyCode], Reason: properties[propertyReason]}
	encoding, err := strconv.ParseUint(properties[propertyEncoding], 10, 8)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", propertyEncoding, err)
	}
	l.Encoding = uint8(encoding)
	if text := properties[propertySchema]; text != "" {
		fingerprint, err := hex.DecodeString(text)
		if err != nil || len(fingerprint) != len(l.Fingerprint) {
			return nil, fmt.Errorf("%s: %.80q", propertySchema, text)
		}
		l.Fingerprint = [32]byte(fingerprint)
	}
	if l.OccurredAt, err = strconv.ParseInt(properties[propertyOccurred], 10, 64); err != nil {
		return nil, fmt.Errorf("%s: %w", propertyOccurred, err)
	}
	if l.Payload, err = unpack(payload, properties); err != nil {
		return nil, fmt.Errorf("the payload: %w", err)
	}
	return l, nil
}

// Floor returns the property `floor`: at or above it the log holds everything that is
// parked after this message.
func Floor(properties map[string]string) (position.Position, error) {
	return position.Parse(properties[propertyFloor])
}

func formatID(id [16]byte) string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func parseID(text string) (id [16]byte, err error) {
	raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(raw) != len(id) || len(text) != 36 {
		return id, fmt.Errorf("%.60q is not an event's id", text)
	}
	return [16]byte(raw), nil
}
