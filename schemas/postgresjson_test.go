package schemas

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// postgresColumns are values of Postgres, the Avro type that a column of theirs
// is published as, and what AppendAvroToJSON makes of it. An empty plain is a
// value that Avro cannot hold.
var postgresColumns = []struct{ sql, avro, plain string }{
	{`true`, `"boolean"`, `true`},
	{`32767::int2`, `"int"`, `32767`},
	{`(-2147483648)::int4`, `"int"`, `-2147483648`},
	{`9223372036854775807::int8`, `"long"`, `9223372036854775807`},
	{`0.1::float4`, `"float"`, `0.1`},
	{`3.4028235e38::float4`, `"float"`, `3.4028235e+38`},
	{`0.1::float8`, `"double"`, `0.1`},
	{`5e-324::float8`, `"double"`, `5e-324`},
	{`1.7976931348623157e308::float8`, `"double"`, `1.7976931348623157e+308`},
	{`'NaN'::float8`, `"double"`, `"NaN"`},
	{`'-Infinity'::float4`, `"float"`, `"-Infinity"`},
	{`'Infinity'::float8`, `["null","double"]`, `"Infinity"`},
	{`1.50::numeric`, `"double"`, `1.5`},
	{`null::numeric`, `["null",{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}]`, `null`},
	{`12.5::numeric(10,4)`, `{"type":"bytes","logicalType":"decimal","precision":10,"scale":4}`, `"12.5000"`},
	{`12.5000::numeric`, `{"type":"bytes","logicalType":"decimal","precision":3,"scale":1}`, `"12.5"`},
	{`0.1::numeric + 0.2`, `{"type":"bytes","logicalType":"decimal","precision":38,"scale":18}`, `"0.300000000000000000"`},
	{`12345678901234567890123456789012345678.90::numeric`, `{"type":"bytes","logicalType":"decimal","precision":40,"scale":2}`, `"12345678901234567890123456789012345678.90"`},
	{`-99999999999999999999999999999999999999::numeric`, `{"type":"fixed","name":"D","size":16,"logicalType":"decimal","precision":38,"scale":0}`, `"-99999999999999999999999999999999999999"`},
	{`99999999999999999999999999999999999999.5::numeric`, `{"type":"bytes","logicalType":"decimal","precision":40,"scale":0}`, ``},
	{`100000::numeric`, `{"type":"bytes","logicalType":"decimal","precision":5,"scale":0}`, ``},
	{`'NaN'::numeric`, `{"type":"bytes","logicalType":"decimal","precision":5,"scale":0}`, ``},
	{`'a "quoted" naïve ☃'::text`, `"string"`, `"a \"quoted\" naïve ☃"`},
	{`'10.0.0.1'::inet`, `"string"`, `"10.0.0.1"`},
	{`'OPEN'::text`, `{"type":"enum","name":"E","symbols":["HELD","OPEN"]}`, `"OPEN"`},
	{`'0190163D-8694-739B-AEA5-966C26F8AD91'::uuid`, `{"type":"string","logicalType":"uuid"}`, `"0190163d-8694-739b-aea5-966c26f8ad91"`},
	{`'0190163d-8694-739b-aea5-966c26f8ad91'::uuid`, `{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}`, `"0190163d-8694-739b-aea5-966c26f8ad91"`},
	{`'\x00ff41'::bytea`, `"bytes"`, `"\u0000\u00ffA"`},
	{`''::bytea`, `["null","bytes"]`, `""`},
	{`'\\x41'::bytea`, `"bytes"`, `"\\x5c783431"`}, // the bytes \x41, which their characters would not give back
	{`'\x00ff'::bytea`, `{"type":"fixed","name":"F","size":2}`, `"\u0000\u00ff"`},
	{`'\x010000000200000003000000'::bytea`, `{"type":"fixed","name":"P","size":12,"logicalType":"duration"}`, `{"months":1,"days":2,"millis":3}`},
	{`'2026-11-21'::date`, `{"type":"int","logicalType":"date"}`, `"2026-11-21"`},
	{`'0044-03-15 BC'::date`, `{"type":"int","logicalType":"date"}`, `-735160`},
	{`'5874897-12-31'::date`, `{"type":"int","logicalType":"date"}`, `2145042905`},
	{`'infinity'::date`, `{"type":"int","logicalType":"date"}`, ``},
	{`'14:50:10.123456'::time`, `{"type":"long","logicalType":"time-micros"}`, `"14:50:10.123456"`},
	{`'14:50:10.123456'::time`, `{"type":"int","logicalType":"time-millis"}`, `"14:50:10.123"`},
	{`'24:00'::time`, `{"type":"long","logicalType":"time-micros"}`, ``},
	{`'2026-11-21 14:50:10.123456+00'::timestamptz`, `{"type":"long","logicalType":"timestamp-micros"}`, `"2026-11-21T14:50:10.123456Z"`},
	{`'2026-11-21 14:50:10.123456+00'::timestamptz`, `{"type":"long","logicalType":"timestamp-millis"}`, `"2026-11-21T14:50:10.123Z"`},
	{`'2026-11-21 14:50:10.123456+00'::timestamptz::text`, `{"type":"long","logicalType":"timestamp-micros"}`, `"2026-11-21T14:50:10.123456Z"`},
	{`'1801-02-03 04:05:06+00'::timestamptz`, `{"type":"long","logicalType":"timestamp-micros"}`, `"1801-02-03T04:05:06Z"`}, // a zone with seconds
	{`'0044-03-15 12:00:00+00 BC'::timestamptz`, `{"type":"long","logicalType":"timestamp-micros"}`, `-63517780800000000`},
	{`'294246-12-31 23:59:59.999999+00'::timestamptz`, `{"type":"long","logicalType":"timestamp-micros"}`, `9223371244799999999`},
	{`'294276-12-31 23:59:59.999999+00'::timestamptz`, `{"type":"long","logicalType":"timestamp-micros"}`, ``}, // Postgres counts from 2000
	{`'infinity'::timestamptz`, `{"type":"long","logicalType":"timestamp-micros"}`, ``},
	{`'2026-11-21 14:50:10'::timestamp`, `{"type":"long","logicalType":"timestamp-micros"}`, ``}, // whose zone?
	{`'2026-11-21 14:50:10.1'::timestamp`, `{"type":"long","logicalType":"local-timestamp-micros"}`, `"2026-11-21T14:50:10.100000"`},
	{`'12026-11-21 14:50:10'::timestamp`, `{"type":"long","logicalType":"local-timestamp-millis"}`, `317364792610000`},
	{`array[1,2]`, `{"type":"array","items":"int"}`, `[1,2]`},
	{`array[1,null,2]`, `{"type":"array","items":["null","int"]}`, `[1,null,2]`},
	{`array[1,null,2]`, `{"type":"array","items":"int"}`, ``},
	{`array[[1,2],[3,4]]`, `{"type":"array","items":{"type":"array","items":"long"}}`, `[[1,2],[3,4]]`},
	{`array[1.10,null]::numeric[]`, `{"type":"array","items":["null",{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}]}`, `["1.10",null]`},
	{`array['\x00'::bytea,'\xff'::bytea]`, `{"type":"array","items":"bytes"}`, `["\u0000","\u00ff"]`},
	{`array['2026-11-21 14:50:10+00']::timestamptz[]`, `{"type":"array","items":{"type":"long","logicalType":"timestamp-micros"}}`, `["2026-11-21T14:50:10Z"]`},
	{`'{}'::text[]`, `{"type":"array","items":"string"}`, `[]`},
	{`'{"b":2,"a":1}'::jsonb`, `{"type":"map","values":"long"}`, `{"a":1,"b":2}`},
}

// TestPostgresJSON transcodes what to_jsonb makes of columns, in sessions of
// zones whose offsets have minutes and seconds.
func TestPostgresJSON(t *testing.T) {
	conn := pgtest.New(t).Conn(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, zone := range []string{"UTC", "Europe/Amsterdam", "Asia/Kathmandu", "America/St_Johns"} {
		if _, err := conn.Exec(ctx, "select set_config('timezone', $1, false)", zone); err != nil {
			t.Fatal(err)
		}
		for _, c := range postgresColumns {
			row := toJSONB(ctx, t, conn, c.sql)
			s := mustParse(t, `{"type":"record","name":"Row","fields":[{"name":"c","type":`+c.avro+`}]}`)
			data, err := AppendJSONToAvro(nil, s, row)
			if c.plain == "" {
				if err == nil {
					t.Errorf("%s: %s was taken for %s", c.sql, row, c.avro)
				}
				continue
			}
			plain, plainErr := AppendAvroToJSON(nil, s, data)
			if err != nil || plainErr != nil || string(plain) != `{"c":`+c.plain+`}` {
				t.Errorf("%s in %s: %s became %s (%v, %v)", c.sql, zone, row, plain, err, plainErr)
			}
			if again, err := AppendJSONToAvro(nil, s, plain); err != nil || string(again) != string(data) {
				t.Errorf("%s: %s reads back as % x, not % x (%v)", c.sql, plain, again, data, err)
			}
		}
	}
}

func toJSONB(ctx context.Context, t *testing.T, conn *pgx.Conn, expression string) (row []byte) {
	t.Helper()
	if err := conn.QueryRow(ctx, "select to_jsonb(r)::text from (select "+expression+" as c) r").Scan(&row); err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return row
}

// TestHexForm: what spells Postgres' hex form is that, what nearly does is Avro's.
func TestHexForm(t *testing.T) {
	for _, c := range []struct{ schema, json, want string }{
		{`"bytes"`, `"\\x"`, "00"},
		{`"bytes"`, `"\\x00FF"`, "0400ff"},
		{`"bytes"`, `"\u005cx00\u0066f"`, "0400ff"},
		{`"bytes"`, `"\\x0"`, "065c7830"},
		{`"bytes"`, `"\\x0g"`, "085c783067"},
		{`"bytes"`, `"\\X00"`, "085c583030"},
		{`"bytes"`, `"x00"`, "06783030"},
		{`{"type":"fixed","name":"F","size":2}`, `"\\x00ff"`, "00ff"},
		{`{"type":"fixed","name":"F","size":2}`, `"\\x"`, "5c78"},
		{`{"type":"fixed","name":"F","size":6}`, `"\\x00ff"`, hex.EncodeToString([]byte(`\x00ff`))},
		{`["string","bytes"]`, `"\\x00ff"`, "000c" + hex.EncodeToString([]byte(`\x00ff`))},
	} {
		got, err := AppendJSONToAvro(nil, mustParse(t, c.schema), []byte(c.json))
		if err != nil || hex.EncodeToString(got) != c.want {
			t.Errorf("%s %s: %x, want %s (%v)", c.schema, c.json, got, c.want, err)
		}
	}
	_, err := AppendJSONToAvro(nil, mustParse(t, `{"type":"fixed","name":"F","size":3}`), []byte(`"\\x00ff"`))
	wantFault(t, err, ErrInvalidJSON, "fixed, 3 bytes")
}

// TestBytesReadBack: bytes written as JSON read back the same, whatever they spell.
func TestBytesReadBack(t *testing.T) {
	s := mustParse(t, `"bytes"`)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.StringMatching(`(\\x)?[0-9a-fA-F\\x]{0,9}`),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		).Draw(t, "bytes")
		data := append(binary.AppendVarint(nil, int64(len(text))), text...)
		plain, err := AppendAvroToJSON(nil, s, data)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := AppendJSONToAvro(nil, s, plain); err != nil || string(back) != string(data) {
			t.Fatalf("%q became %s and then % x (%v)", text, plain, back, err)
		}
	})
}

// TestWideDates compares the calendar beyond four digits with package time's.
func TestWideDates(t *testing.T) {
	day, micros := mustParse(t, `{"type":"int","logicalType":"date"}`), mustParse(t, `{"type":"long","logicalType":"timestamp-micros"}`)
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-210866803200, 9223371244799).Draw(t, "seconds"), 0).UTC() // 4714 BC to 294246
		year, era := at.Year(), ""
		if year <= 0 {
			year, era = 1-year, " BC"
		}
		date := fmt.Sprintf("%04d%s", year, at.Format("-01-02"))
		for text, c := range map[string]struct {
			s    *Schema
			want int64
		}{
			date + era: {day, floorDiv(at.Unix(), 86400)},
			date + at.Format("T15:04:05") + "+00:00" + era: {micros, at.Unix() * 1e6},
		} {
			got, err := AppendJSONToAvro(nil, c.s, []byte(`"`+text+`"`))
			if n, _ := binary.Varint(got); err != nil || n != c.want {
				t.Fatalf("%s: %d, want %d (%v)", text, n, c.want, err)
			}
		}
	})
	for _, text := range []string{
		"0000-01-01 BC", "026-01-01", "02026-01-01", "12345678-01-01", "5999999-01-01", "2026-1-01", "2026-01-01BC", "2026-01-01 AD",
		"10000-02-30", "2026-01-01T", "-2026-01-01", "+2026-01-01", "2026-01-01  BC", "infinity",
	} {
		_, err := AppendJSONToAvro(nil, day, []byte(`"`+text+`"`))
		wantFault(t, err, ErrInvalidJSON)
	}
	for _, zone := range []string{"", "+", "+1", "+0100", "+01:", "+01:0", "+24:00", "+01:60", "+01:00:60", "+01:00:00:00", " +01:00", "z0", "+01:00 AD"} {
		_, err := AppendJSONToAvro(nil, micros, []byte(`"2026-01-01T00:00:00`+zone+`"`))
		wantFault(t, err, ErrInvalidJSON)
	}
}
