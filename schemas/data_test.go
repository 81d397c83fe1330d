package schemas

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestValidateRefuses(t *testing.T) {
	record := `{"type":"record","name":"R","fields":[{"name":"items","type":{"type":"array","items":{"type":"record","name":"I","fields":[{"name":"sku","type":"string"}]}}}]}`
	list := `{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}`
	for _, c := range []struct{ name, schema, data, says string }{
		{"empty", `"int"`, "", "$: the data ends too early (at byte 0 of 0)"},
		{"trailing", `"int"`, "0202", "$: 1 bytes are left over (at byte 1 of 2)"},
		{"truncated varint", `"long"`, "ff", "ends too early (at byte 1"},
		{"int too long", `"int"`, "ffffffff1f", "out of its type's range"},
		{"int of six bytes", `"int"`, "808080808000", "out of its type's range"},
		{"long of eleven bytes", `"long"`, "8080808080808080808000", "out of its type's range"},
		{"long above 64 bits", `"long"`, "ffffffffffffffffff02", "out of its type's range"},
		{"boolean", `"boolean"`, "02", "0 or 1"},
		{"float", `"float"`, "000000", "a length of 4"},
		{"negative length", `"bytes"`, "01", "a length of -1"},
		{"hostile length", `"bytes"`, "feffffffffffffffff01", "a length of 9223372036854775807"},
		{"utf-8", `"string"`, "02ff", "not UTF-8 (at byte 1"},
		{"symbol", `{"type":"enum","name":"E","symbols":["A"]}`, "02", "no symbol 1"},
		{"negative symbol", `{"type":"enum","name":"E","symbols":["A"]}`, "01", "no symbol -1"},
		{"branch", `["null","int"]`, "04", "no branch 2"},
		{"fixed", `{"type":"fixed","name":"F","size":3}`, "0000", "F (fixed, 3 bytes)"},
		{"path", record, "040241" + "02ff", "$.items[1].sku: a string is not UTF-8 (at byte 4 of 5)"},
		{"key", `{"type":"map","values":{"type":"map","values":"boolean"}}`, "02024102024205", `$["A"]["B"]: a boolean`},
		{"hostile count", `{"type":"array","items":"int"}`, "feffffffffffffffff01", "a count of"},
		{"most negative count", `{"type":"array","items":"null"}`, "ffffffffffffffffff0100", "a count of"},
		{"hostile count of nulls", `{"type":"array","items":"null"}`, "80ade20400", "a count of 5000000"},
		{"many blocks of nulls", `{"type":"array","items":"null"}`, strings.Repeat("80fa01", 10) + "00", "a count of 16000 is more"},
		{"block size", `{"type":"array","items":"int"}`, "0104020200", "a block's size"},
		{"block size beyond", `{"type":"array","items":"int"}`, "01800202", "a length of 128"},
		{"deep", list, strings.Repeat("02", 600) + "00", "nested more than 512 deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := hex.DecodeString(c.data)
			if err != nil {
				t.Fatal(err)
			}
			wantFault(t, Validate(mustParse(t, c.schema), data), ErrInvalidAvro, c.says)
		})
	}
}

// A schema of a few lines can stand for very many values that take no byte.
func TestValidateBoundsSchemasThatGrow(t *testing.T) {
	text := `"null"`
	for i := 0; i < 25; i++ {
		name := string(rune('A' + i))
		text = `{"type":"record","name":"` + name + `","fields":[{"name":"a","type":` + text + `},{"name":"b","type":"` + string(rune('A'+i-1)) + `"}]}`
		if i == 0 {
			text = `{"type":"record","name":"A","fields":[{"name":"a","type":"null"}]}`
		}
	}
	wantFault(t, Validate(mustParse(t, text), nil), ErrInvalidAvro, "without content")
}

func TestValidateAccepts(t *testing.T) {
	for _, c := range []struct{ schema, data string }{
		{`"null"`, ""},
		{`"int"`, "8080808000"}, // more bytes than needed, as decoders read it
		{`"int"`, "ffffffff0f"},
		{`"long"`, "ffffffffffffffffff01"},
		{`{"type":"array","items":"int"}`, "0104020402060800" + ""},
		{`{"type":"array","items":"null"}`, "80fa0100"},
	} {
		data, _ := hex.DecodeString(c.data)
		if c.schema == `{"type":"array","items":"int"}` {
			data = []byte{3, 4, 2, 4, 2, 6, 0} // a block of two with its size, then one of one
		}
		if err := Validate(mustParse(t, c.schema), data); err != nil {
			t.Errorf("%s % x: %v", c.schema, data, err)
		}
	}
}

func TestJSONToAvro(t *testing.T) {
	record := `{"type":"record","name":"a.R","fields":[{"name":"x","type":"int","default":7},{"name":"y","type":["null","string"],"default":null}]}`
	decimal := `{"type":"bytes","logicalType":"decimal","precision":5,"scale":2}`
	for _, c := range []struct{ schema, json, want string }{
		{`"null"`, `null`, ""},
		{`"boolean"`, ` true `, "01"},
		{`"int"`, `-64`, "7f"},
		{`"int"`, `5.0`, "0a"},
		{`"int"`, `0.5e1`, "0a"},
		{`"int"`, `-0`, "00"},
		{`"long"`, `9223372036854775807`, "feffffffffffffffff01"},
		{`"long"`, `-9223372036854775808`, "ffffffffffffffffff01"},
		{`"long"`, `9007199254740993`, "8280808080808020"},
		{`"double"`, `1`, "000000000000f03f"},
		{`"float"`, `"-Infinity"`, "000080ff"},
		{`"string"`, `"a\u00e9\ud83d\ude00\n"`, "1061c3a9f09f98800a"},
		{`"bytes"`, `"\u00ff\u0000A"`, "06ff0041"},
		{`"bytes"`, `"é"`, "02e9"},
		{`{"type":"fixed","name":"F","size":2}`, `"ab"`, "6162"},
		{`{"type":"enum","name":"E","symbols":["A","B"]}`, `"B"`, "02"},
		{`{"type":"array","items":"int"}`, `[1,2]`, "04020400"},
		{`{"type":"array","items":"int"}`, `[]`, "00"},
		{`{"type":"map","values":"int"}`, `{"a":1}`, "0202610200"},
		{record, `{"y":"b","x":1}`, "02020262"},
		{record, `{}`, "0e00"},
		{record, `{"\u0078":2,"y":{"string":"b"}}`, "04020262"},
		{`["null",` + record + `]`, `{"x":1}`, "020200"},
		{`["null",` + record + `]`, `{"a.R":{"x":1}}`, "020200"},
		{`["null",` + record + `]`, `{"R":{"x":1}}`, "020200"},
		{`["null","string","long"]`, `null`, "00"},
		{`["null","string","long"]`, `5`, "040a"},
		{`["double","long"]`, `5`, "020a"},
		{`["double","long"]`, `5.5`, "000000000000001640"},
		{`["double","long"]`, `{"double":5}`, "000000000000001440"},
		{`["bytes","string"]`, `"a"`, "020261"},
		{`["bytes","string"]`, `{"bytes":"a"}`, "000261"},
		{`["null",{"type":"map","values":"string"}]`, `{"map":"x"}`, "0202066d6170027800"},
		{`["null",{"type":"map","values":"string"}]`, `{"map":{"map":"x"}}`, "0202066d6170027800"},
		{`[{"type":"enum","name":"E","symbols":["A"]},"string"]`, `"A"`, "0000"},
		{`[{"type":"enum","name":"E","symbols":["A"]},"string"]`, `"B"`, "020242"},
		{`["string",{"type":"long","logicalType":"timestamp-millis"}]`, `{"long":"1970-01-01T00:00:01Z"}`, "02d00f"},
		{decimal, `1.5`, "040096"},
		{decimal, `"-1.50"`, "04ff6a"},
		{decimal, `15e-1`, "040096"},
		{decimal, `0`, "0200"},
		{decimal, `999.99`, "0601869f"},
		{`{"type":"fixed","name":"D","size":4,"logicalType":"decimal","precision":5,"scale":2}`, `-0.01`, "ffffffff"},
		{`{"type":"bytes","logicalType":"decimal","precision":40,"scale":0}`, `-170141183460469231731687303715884105728`, "2080000000000000000000000000000000"},
		{`{"type":"bytes","logicalType":"decimal","precision":40,"scale":0}`, `1e30`, "1a0c9f2c9cd04674edea40000000"},
		{`{"type":"int","logicalType":"date"}`, `"1970-01-02"`, "02"},
		{`{"type":"int","logicalType":"date"}`, `"1969-12-31"`, "01"},
		{`{"type":"int","logicalType":"date"}`, `-1`, "01"},
		{`{"type":"int","logicalType":"time-millis"}`, `"00:00:01.5"`, "b817"},
		{`{"type":"long","logicalType":"timestamp-millis"}`, `"1970-01-01T01:00:00.0019+01:00"`, "02"},
		{`{"type":"long","logicalType":"timestamp-millis"}`, `"1969-12-31T23:59:59.9999Z"`, "01"},
		{`{"type":"long","logicalType":"timestamp-nanos"}`, `"1970-01-01 00:00:00.000000001Z"`, "02"},
		{`{"type":"long","logicalType":"local-timestamp-micros"}`, `"1970-01-01T00:00:00.000001"`, "02"},
		{`{"type":"string","logicalType":"uuid"}`, `"0190163d-8694-739b-aea5-966c26f8ad91"`, "48" + hex.EncodeToString([]byte("0190163d-8694-739b-aea5-966c26f8ad91"))},
		{`{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}`, `"0190163D-8694-739b-aea5-966c26f8ad91"`, "0190163d8694739baea5966c26f8ad91"},
		{`{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}`, `"0123456789abcdef"`, hex.EncodeToString([]byte("0123456789abcdef"))},
		{`{"type":"fixed","name":"D","size":12,"logicalType":"duration"}`, `{"days":2,"months":1}`, "010000000200000000000000"},
	} {
		s := mustParse(t, c.schema)
		got, err := AppendJSONToAvro([]byte("x"), s, []byte(c.json))
		if err != nil {
			t.Errorf("%s %s: %v", c.schema, c.json, err)
			continue
		}
		if hex.EncodeToString(got[1:]) != c.want {
			t.Errorf("%s %s: %x, want %s", c.schema, c.json, got[1:], c.want)
		}
		back, err := AppendAvroToJSON(nil, s, got[1:])
		if err != nil {
			t.Errorf("%s %s: %v", c.schema, c.json, err)
		}
		if again, err := AppendJSONToAvro(nil, s, back); err != nil || string(again) != string(got[1:]) {
			t.Errorf("%s %s: written as %s, read back as %x (%v)", c.schema, c.json, back, again, err)
		}
	}
}

func TestJSONThatDoesNotFit(t *testing.T) {
	record := `{"type":"record","name":"a.R","fields":[{"name":"x","type":"int"},{"name":"y","type":["null",{"type":"array","items":{"type":"map","values":"long"}}],"default":null}]}`
	decimal := `{"type":"bytes","logicalType":"decimal","precision":5,"scale":2}`
	millis := `{"type":"long","logicalType":"timestamp-millis"}`
	for _, c := range []struct{ schema, json, says string }{
		{`"int"`, ``, "not JSON: expected a value, found end of text (at byte 0)"},
		{`"int"`, `1 2`, "at byte 2"},
		{`"string"`, `"\ud800"`, "surrogates"},
		{`"string"`, "\"\xff\"", "not UTF-8"},
		{`"string"`, `"` + "\n" + `"`, "control character"},
		{`"int"`, `01`, "begin with 0"},
		{`"int"`, `"1"`, "$: expected int, found a string"},
		{`"int"`, `1.5`, "expected int, found 1.5, not a whole number"},
		{`"int"`, `2147483648`, "found 2147483648, out of range"},
		{`"long"`, `9223372036854775808`, "out of range"},
		{`"long"`, `1e99999999999`, "not a whole number in range"},
		{`"float"`, `1e39`, "out of range"},
		{`"double"`, `"5"`, `found the string "5"`},
		{`"bytes"`, `"€"`, "above U+00FF"},
		{`{"type":"fixed","name":"F","size":2}`, `"a"`, "F (fixed, 2 bytes)"},
		{`{"type":"enum","name":"E","symbols":["A","B"]}`, `"C"`, `"C" is not a symbol of E, expected A, B`},
		{record, `{"y":null}`, `$: the field "x" is missing, expected int`},
		{record, `{"x":1,"z":2}`, `has no field "z"`},
		{record, `{"x":1,"Y":null}`, `Did you mean "y"?`},
		{record, `{"x":1,"x":2}`, `"x" is given twice`},
		{record, `{"x":1,"y":[{},{"a b":1.5}]}`, `$.y[1]["a b"]: expected long, found 1.5`},
		{record, `{"x":1,"y":{"array":[{"k":true}]}}`, `$.y.array[0].k: expected long, found true`},
		{record, `[]`, "expected a.R (record), found an array"},
		{`{"type":"map","values":"int"}`, `{"a":1,"\u0061":1}`, "given twice"},
		{`["null","int","string"]`, `true`, "expected one of null, int, string, found true"},
		{`["null","int"]`, `1.5`, "expected int, found 1.5"},
		{decimal, `1.005`, "expected decimal(5,2), found 1.005, more digits"},
		{decimal, `1000`, "more digits"},
		{decimal, `"1,5"`, `found the string "1,5"`},
		{decimal, `"\u0001"`, "expected decimal"},
		{millis, `"2024-02-30T00:00:00Z"`, "RFC 3339 with a zone"},
		{millis, `"2024-02-03T00:00:00"`, "RFC 3339 with a zone"},
		{millis, `"yesterday"`, "RFC 3339"},
		{`{"type":"long","logicalType":"local-timestamp-millis"}`, `"2024-02-03T00:00:00Z"`, "without a zone"},
		{`{"type":"long","logicalType":"timestamp-nanos"}`, `"2500-02-03T00:00:00Z"`, "RFC 3339"},
		{`{"type":"int","logicalType":"date"}`, `"2023-02-29"`, "YYYY-MM-DD"},
		{`{"type":"string","logicalType":"uuid"}`, `"x"`, "uuid (string)"},
		{`{"type":"fixed","name":"D","size":12,"logicalType":"duration"}`, `{"years":2}`, "months"},
		{`"int"`, strings.Repeat("[", 2000), "nested more than"},
	} {
		dst := []byte("x")
		got, err := AppendJSONToAvro(dst, mustParse(t, c.schema), []byte(c.json))
		wantFault(t, err, ErrInvalidJSON, c.says)
		if string(got) != "x" {
			t.Errorf("%s %s: left %x behind", c.schema, c.json, got)
		}
	}
}

// Unions inside each other multiply the tries; they must not explode.
func TestJSONBoundsTries(t *testing.T) {
	s := mustParse(t, `{"type":"record","name":"A","fields":[{"name":"n","type":["null","A",
	  {"type":"record","name":"B","fields":[{"name":"n","type":["null","A","B"]}]}]}]}`)
	text := strings.Repeat(`{"n":`, 200) + `1` + strings.Repeat(`}`, 200)
	_, err := AppendJSONToAvro(nil, s, []byte(text))
	wantFault(t, err, ErrInvalidJSON)
}

func TestAvroToJSON(t *testing.T) {
	e := sampleEvent(t, "shop.OrderPlaced")
	data, err := AppendJSONToAvro(nil, e.Schema, []byte(placedJSON))
	if err != nil {
		t.Fatal(err)
	}
	got, err := AppendAvroToJSON(nil, e.Schema, data)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"order_id":"0190163d-8694-739b-aea5-966c26f8ad91","customer":{"id":4711,"name":"Grace Hopper","email":"grace@example.org"},` +
		`"total":{"amount":"129.90","currency":"EUR"},"lines":[{"sku":"A-1","quantity":2,"price":{"amount":"49.95","currency":"EUR"}},` +
		`{"sku":"B-2","quantity":1,"price":{"amount":"30.00","currency":"EUR"}}],"channel":"STORE","note":"leave it with the neighbour, please",` +
		`"tags":{"source":"spring campaign"},"priority":true,"discount":null,"placed_at":"2024-05-06T05:08:09.123456Z"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := AppendAvroToJSON(nil, e.Schema, data[:len(data)-1]); err == nil {
		t.Error("truncated data was written as JSON")
	}
	for text, data := range map[string]string{
		`{"type":"int","logicalType":"date"}`:                                        "feffffff0f", // beyond year 9999: its number
		`["null",{"type":"map","values":"string"}]`:                                  "0202066d6170027800",
		`["null",{"type":"record","name":"R","fields":[{"name":"R","type":"int"}]}]`: "0202",
	} {
		s := mustParse(t, text)
		raw, _ := hex.DecodeString(data)
		j, err := AppendAvroToJSON(nil, s, raw)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := AppendJSONToAvro(nil, s, j); string(back) != string(raw) {
			t.Errorf("%s: %s reads back as %x (%v)", text, j, back, err)
		}
	}
}
