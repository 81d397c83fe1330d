package schemas

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/schemas/avro"
)

// Logical types: what Validate accepts, every decoder of ours must.

func TestValidateRefusesLogical(t *testing.T) {
	text := func(s string) string { return hex.EncodeToString(append([]byte{byte(2 * len(s))}, s...)) }
	const (
		id      = "0190163d-8694-739b-aea5-966c26f8ad91"
		ofID    = `{"type":"string","logicalType":"uuid"}`
		decimal = `{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`
		fixed   = `{"type":"fixed","name":"D","size":4,"logicalType":"decimal","precision":4,"scale":2}`
		millis  = `{"type":"int","logicalType":"time-millis"}`
		micros  = `{"type":"long","logicalType":"time-micros"}`
	)
	for _, c := range []struct{ name, schema, data, says string }{
		{"uuid", ofID, text(id), ""},
		{"uuid in capitals", ofID, text(strings.ToUpper(id)), ""},
		{"no uuid", ofID, text("not a uuid"), "a uuid is 36 characters, as 01234567-89ab-cdef-0123-456789abcdef (at byte 1 of 11)"},
		{"empty uuid", ofID, "00", "a uuid is 36"},
		{"uuid in braces", ofID, text("{" + id + "}"), "a uuid is 36"},
		{"uuid without hyphens", ofID, text(strings.ReplaceAll(id, "-", "")), "a uuid is 36"},
		{"uuid of other digits", ofID, text(strings.ReplaceAll(id, "d", "g")), "a uuid is 36"},
		{"uuid of many hyphens", ofID, text(strings.ReplaceAll(id, "d", "-")), "a uuid is 36"},
		{"uuid not UTF-8", ofID, text(strings.ReplaceAll(id, "d", "\xff")), "a uuid is 36"},
		{"uuid on fixed", `{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}`, strings.Repeat("ff", 16), ""},
		{"decimal", decimal, "04270f", ""},
		{"negative decimal", decimal, "04d8f1", ""},
		{"padded decimal", decimal, "0c00000000270f", ""},
		{"padded negative decimal", decimal, "06ffd8f1", ""},
		{"decimal of no bytes", decimal, "00", "a decimal of no bytes (at byte 1 of 1)"},
		{"decimal too large", decimal, "042710", "a decimal of more than 4 digits"},
		{"decimal too small", decimal, "04d8f0", "a decimal of more than 4 digits"},
		{"decimal of many bytes", decimal, "8010" + strings.Repeat("11", 1024), "a decimal of more than 4 digits"},
		{"decimal on fixed", fixed, "0000270f", ""},
		{"negative decimal on fixed", fixed, "ffffd8f1", ""},
		{"decimal on fixed, too large", fixed, "00002710", "more than 4 digits (at byte 0 of 4)"},
		{"decimal on fixed, too small", fixed, "ffffd8f0", "more than 4 digits"},
		{"last millisecond", millis, "feefb252", ""},
		{"24:00 in milliseconds", millis, "80f0b252", "86400000 is not a time of day, as time-millis (int) is"},
		{"time before midnight", millis, "01", "-1 is not a time of day"},
		{"last microsecond", micros, "feffbadd8305", ""},
		{"24:00 in microseconds", micros, "8080bbdd8305", "86400000000 is not a time of day"},
		{"any date", `{"type":"int","logicalType":"date"}`, "ffffffff0f", ""},
		{"any instant", `{"type":"long","logicalType":"timestamp-nanos"}`, "ffffffffffffffffff01", ""},
		{"duration", `{"type":"fixed","name":"P","size":12,"logicalType":"duration"}`, strings.Repeat("ff", 12), ""},
		{"in a union", `["null",` + ofID + `]`, "02" + text("x"), "a uuid is 36"},
		{"in a map", `{"type":"map","values":` + millis + `}`, "02026b0100", `$["k"]: -1 is not a time of day`},
		// These do not fit their base types, so they are not there.
		{"decimal of too many digits", `{"type":"bytes","logicalType":"decimal","precision":4097,"scale":2}`, "00", ""},
		{"uuid on bytes", `{"type":"bytes","logicalType":"uuid"}`, "00", ""},
		{"time-micros on an int", `{"type":"int","logicalType":"time-micros"}`, "01", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := hex.DecodeString(c.data)
			if err != nil {
				t.Fatal(err)
			}
			s := mustParse(t, c.schema)
			err = Validate(s, data)
			if c.says != "" {
				wantFault(t, err, ErrInvalidAvro, c.says)
			} else if err != nil {
				t.Fatal(err)
			}
			if readErr := readAll(s, data); (readErr == nil) != (err == nil) {
				t.Fatalf("the generated decoder says %v", readErr)
			}
		})
	}
}

// TestValidateAgreesWithDecoder: the decoder that generated code is made of
// accepts what Validate accepts, and the way to JSON and back does. Of small
// values it also refuses the same, but for a block's size, which it has no use for.
func TestValidateAgreesWithDecoder(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		_, text, s := drawSchema(t, false)
		data := appendRandom(t, nil, s, 6, inBlocks|loosely)
		if rapid.Bool().Draw(t, "foreign") {
			data = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")
		} else if len(data) > 0 && rapid.IntRange(0, 2).Draw(t, "damaged") == 0 {
			data[rapid.IntRange(0, len(data)-1).Draw(t, "at")] ^= byte(1 << rapid.IntRange(0, 7).Draw(t, "bit"))
		}
		err, readErr := Validate(s, data), readAll(s, data)
		if (err == nil) != (readErr == nil) && (err == nil || !strings.Contains(err.Error(), "a block's size")) {
			t.Fatalf("%s % x: Validate says %v, the decoder %v", text, data, err, readErr)
		}
		if err != nil {
			refused++
			return
		}
		accepted++
		j, err := AppendAvroToJSON(nil, s, data)
		if err != nil {
			t.Fatalf("%s % x: %v", text, data, err)
		}
		back, err := AppendJSONToAvro(nil, s, j)
		if err != nil {
			if !strings.Contains(err.Error(), "given twice") { // a map's key; decoders take the last
				t.Fatalf("%s % x: %s: %v", text, data, j, err)
			}
			return
		}
		if err := Validate(s, back); err != nil {
			t.Fatalf("%s: %s became % x: %v", text, j, back, err)
		}
	})
	t.Logf("%d accepted, %d refused", accepted, refused)
}

// readAll reads one value of s with the calls that generated code makes.
func readAll(s *Schema, data []byte) error {
	r := avro.NewReader(data)
	readValue(&r, s)
	return r.Close()
}

func readValue(r *avro.Reader, s *Schema) {
	switch s.Logical {
	case Decimal:
		if s.Type == Fixed {
			r.DecimalFixed(s.Precision, s.Scale, s.Size)
		} else {
			r.Decimal(s.Precision, s.Scale)
		}
		return
	case UUID:
		if s.Type == String {
			r.UUID()
			return
		}
	case Duration:
		r.Duration()
		return
	case Date:
		r.Date()
		return
	case TimeMillis:
		r.TimeMillis()
		return
	case TimeMicros:
		r.TimeMicros()
		return
	case TimestampMillis, LocalTimestampMillis:
		r.TimestampMillis()
		return
	case TimestampMicros, LocalTimestampMicros:
		r.TimestampMicros()
		return
	case TimestampNanos, LocalTimestampNanos:
		r.TimestampNanos()
		return
	}
	switch s.Type {
	case Boolean:
		r.Boolean()
	case Int:
		r.Int()
	case Long:
		r.Long()
	case Float:
		r.Float()
	case Double:
		r.Double()
	case Bytes:
		r.Bytes()
	case String:
		_ = r.String()
	case Fixed:
		r.Fixed(make([]byte, s.Size))
	case Enum:
		r.Index(len(s.Symbols))
	case Union:
		if n := r.Index(len(s.Branches)); n >= 0 {
			readValue(r, s.Branches[n])
		}
	case Record:
		if r.Enter() {
			for _, f := range s.Fields {
				readValue(r, f.Type)
			}
		}
		r.Leave()
	case Array, Map:
		size := leastBytes(s.Items, map[*Schema]bool{})
		if s.Type == Map {
			size++
		}
		for n := r.Block(size); n > 0; n = r.Block(size) {
			for range n {
				if s.Type == Map {
					_ = r.String()
				}
				if readValue(r, s.Items); r.Failed("") {
					return
				}
			}
		}
	}
}

// leastBytes is how many bytes a value of s takes at least.
func leastBytes(s *Schema, open map[*Schema]bool) int {
	const endless = 1 << 20
	switch s.Type {
	case Null:
		return 0
	case Float:
		return 4
	case Double:
		return 8
	case Fixed:
		return s.Size
	case Union:
		least := endless
		for _, b := range s.Branches {
			least = min(least, leastBytes(b, open))
		}
		return 1 + least
	case Record:
		if open[s] {
			return endless
		}
		open[s] = true
		defer delete(open, s)
		sum := 0
		for _, f := range s.Fields {
			sum = min(endless, sum+leastBytes(f.Type, open))
		}
		return sum
	}
	return 1
}

func TestIsUUID(t *testing.T) {
	const id = "0190163d-8694-739b-AEA5-966C26F8ad91"
	for at := range id {
		for c := range 256 {
			text := []byte(id)
			text[at] = byte(c)
			parsed, err := uuid.ParseBytes(text)
			if isUUID(text) != (err == nil) {
				t.Fatalf("%q: %v, package uuid says %v", text, isUUID(text), err)
			}
			if err == nil && !strings.EqualFold(parsed.String(), string(text)) {
				t.Fatalf("%q is %v", text, parsed)
			}
		}
	}
}

// TestNumbersOutsideTheirType: a number is taken for a time only if it is one.
func TestNumbersOutsideTheirType(t *testing.T) {
	for text, numbers := range map[string][]string{
		`{"type":"int","logicalType":"time-millis"}`:  {"-1", "86400000", `"24:00:00"`},
		`{"type":"long","logicalType":"time-micros"}`: {"-1", "86400000000", "9223372036854775807"},
	} {
		for _, number := range numbers {
			_, err := AppendJSONToAvro(nil, mustParse(t, text), []byte(number))
			wantFault(t, err, ErrInvalidJSON, "HH:MM:SS")
		}
	}
}

func TestDefaultsOfLogicalTypes(t *testing.T) {
	record := func(avro, value string) string {
		return `{"type":"record","name":"R","fields":[{"name":"f","type":` + avro + `,"default":` + value + `}]}`
	}
	for text, says := range map[string]string{
		record(`{"type":"string","logicalType":"uuid"}`, `""`):                                  `the default of "f": a uuid is 36 characters`,
		record(`{"type":"bytes","logicalType":"decimal","precision":2,"scale":0}`, `""`):        `a decimal of no bytes`,
		record(`{"type":"bytes","logicalType":"decimal","precision":2,"scale":0}`, `"d"`):       `more than 2 digits`,
		record(`{"type":"int","logicalType":"time-millis"}`, `86400000`):                        `not a time of day`,
		record(`{"type":"array","items":{"type":"int","logicalType":"time-millis"}}`, `[0,-1]`): `$[1]: -1 is not`,
	} {
		_, err := Parse([]byte(text), "")
		wantFault(t, err, ErrInvalidDefault, says)
	}
	mustParse(t, record(`{"type":"bytes","logicalType":"decimal","precision":3,"scale":0}`, `"d"`)) // 100
}

// TestResolveIntoLogical: the reader's logical type holds, too.
func TestResolveIntoLogical(t *testing.T) {
	for _, c := range []struct{ writer, reader, good, bad, says string }{
		{`"string"`, `{"type":"string","logicalType":"uuid"}`, "48" + hex.EncodeToString([]byte("0190163d-8694-739b-aea5-966c26f8ad91")), "0278", "a uuid is 36"},
		{`"bytes"`, `{"type":"string","logicalType":"uuid"}`, "48" + hex.EncodeToString([]byte("0190163d-8694-739b-aea5-966c26f8ad91")), "02ff", "a uuid is 36"},
		{`"bytes"`, `{"type":"bytes","logicalType":"decimal","precision":2,"scale":0}`, "0263", "0264", "more than 2 digits"},
		{`"string"`, `{"type":"bytes","logicalType":"decimal","precision":2,"scale":0}`, "0263", "00", "no bytes"},
		{`"int"`, `{"type":"int","logicalType":"time-millis"}`, "00", "01", "-1 is not a time of day"},
		{`"int"`, `{"type":"long","logicalType":"time-micros"}`, "00", "01", "-1 is not a time of day"},
		{`"long"`, `["null",{"type":"long","logicalType":"time-micros"}]`, "00", "01", "-1 is not a time of day"},
		{`{"type":"fixed","name":"F","size":2}`, `{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":3,"scale":0}`, "03e7", "03e8", "more than 3 digits"},
	} {
		r, err := NewResolver(mustParse(t, c.writer), mustParse(t, c.reader))
		if err != nil {
			t.Fatal(err)
		}
		good, _ := hex.DecodeString(c.good)
		bad, _ := hex.DecodeString(c.bad)
		got, err := r.Append(nil, good)
		if err != nil || !strings.HasSuffix(string(got), string(good)) {
			t.Errorf("%s as %s: % x became % x (%v)", c.writer, c.reader, good, got, err)
		}
		_, err = r.Append(nil, bad)
		wantFault(t, err, ErrInvalidAvro, c.says)
	}
}
