package capture

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/runnel-cdc/runnel/router"
)

// Type OIDs, fixed in Postgres's catalog.
const (
	oidBytea       = 17
	oidInt8        = 20
	oidInt2        = 21
	oidText        = 25
	oidTimestamptz = 1184
	oidUUID        = 2950
	oidJSONB       = 3802
	oidXID8        = 5069
)

// postgresEpoch is 2000-01-01 in microseconds since the Unix epoch.
const postgresEpoch = 946_684_800_000_000

// field says what a column is to us.
type field uint8

const (
	fieldIgnored field = iota
	fieldSeq
	fieldID
	fieldAggregateType
	fieldAggregateID
	fieldEventType
	fieldEncoding
	fieldFingerprint
	fieldPayload
	fieldHeaders
	fieldOccurredAt
	fieldControlPipeline
	fieldControlKind
	fieldControlBody
)

type column struct {
	oid   uint32
	field field
}

// outboxColumns are the columns of runnel.outbox, all of them: one more could
// mean something that this version would get wrong.
var outboxColumns = map[string]column{
	"seq":            {oidInt8, fieldSeq},
	"id":             {oidUUID, fieldID},
	"aggregate_type": {oidText, fieldAggregateType},
	"aggregate_id":   {oidText, fieldAggregateID},
	"event_type":     {oidText, fieldEventType},
	"aggregate_seq":  {oidInt8, fieldIgnored},
	"encoding":       {oidInt2, fieldEncoding},
	"fingerprint":    {oidBytea, fieldFingerprint},
	"payload":        {oidBytea, fieldPayload},
	"headers":        {oidJSONB, fieldHeaders},
	"occurred_at":    {oidTimestamptz, fieldOccurredAt},
	"xid":            {oidXID8, fieldIgnored},
	"inserted_at":    {oidTimestamptz, fieldIgnored},
}

// controlColumns are the columns of runnel.control.
var controlColumns = map[string]column{
	"seq":         {oidInt8, fieldIgnored},
	"pipeline":    {oidText, fieldControlPipeline},
	"kind":        {oidText, fieldControlKind},
	"body":        {oidJSONB, fieldControlBody},
	"inserted_at": {oidTimestamptz, fieldIgnored},
}

// namedColumn is a column as a relation has it.
type namedColumn struct {
	name string
	oid  uint32
}

// plan maps a relation's columns, in its order, to fields.
func plan(relation string, known map[string]column, have []namedColumn) ([]field, error) {
	fields := make([]field, len(have))
	seen := make(map[string]bool, len(have))
	for i, c := range have {
		want, ok := known[c.name]
		if !ok {
			return nil, ErrOutboxShape.New("column %q is not known", c.name).At("%s", relation)
		}
		if c.oid != want.oid {
			return nil, ErrOutboxShape.New("column %q is of another type (OID %d, want %d)",
				c.name, c.oid, want.oid).At("%s", relation)
		}
		if seen[c.name] {
			return nil, ErrOutboxShape.New("column %q twice", c.name).At("%s", relation)
		}
		seen[c.name] = true
		fields[i] = want.field
	}
	if len(seen) != len(known) {
		var missing []string
		for name := range known {
			if !seen[name] {
				missing = append(missing, name)
			}
		}
		return nil, ErrOutboxShape.New("missing columns: %s", strings.Join(sorted(missing), ", ")).At("%s", relation)
	}
	return fields, nil
}

// setField puts a value in Postgres's binary format into the event; the event
// aliases it. NULLs are not set: the router says what an event lacks.
func setField(e *router.Event, f field, v []byte) error {
	switch f {
	case fieldIgnored:
	case fieldSeq:
		if len(v) != 8 {
			return errWidth(f, v)
		}
		e.Seq = int64(binary.BigEndian.Uint64(v))
	case fieldID:
		if len(v) != len(e.ID) {
			return errWidth(f, v)
		}
		e.ID = [16]byte(v)
	case fieldAggregateType:
		e.AggregateType = v
	case fieldAggregateID:
		e.AggregateID = v
	case fieldEventType:
		e.Type = v
	case fieldEncoding:
		if len(v) != 2 {
			return errWidth(f, v)
		}
		// A value that is no Encoding becomes 0, which the router refuses.
		if n := binary.BigEndian.Uint16(v); n <= uint16(router.JSON) {
			e.Encoding = router.Encoding(n)
		}
	case fieldFingerprint:
		// Of another length it stays zero, which no schema has.
		if len(v) == len(e.Fingerprint) {
			e.Fingerprint = [32]byte(v)
		}
	case fieldPayload:
		e.Payload = v
	case fieldHeaders:
		if len(v) < 1 || v[0] != 1 { // jsonb's own version, then its text
			return errWidth(f, v)
		}
		e.Headers = v[1:]
	case fieldOccurredAt:
		if len(v) != 8 {
			return errWidth(f, v)
		}
		e.OccurredAt = unixMicro(int64(binary.BigEndian.Uint64(v)))
	}
	return nil
}

// unixMicro turns a timestamp of Postgres's into ours; -infinity and infinity
// stay the least and the greatest.
func unixMicro(t int64) int64 {
	if t == math.MinInt64 || t > math.MaxInt64-postgresEpoch {
		return t
	}
	return t + postgresEpoch
}

func errWidth(f field, v []byte) error {
	return ErrStream.Wrap(fmt.Errorf("%d bytes for field %d", len(v), f), "a value in an unknown format")
}
