package schemas

import (
	"encoding/hex"
	"strings"
	"testing"
)

// Pairs and data after Avro 1.12, "Schema Resolution".
func TestResolve(t *testing.T) {
	record := func(name string, fields ...string) string {
		return `{"type":"record","name":"` + name + `","fields":[` + strings.Join(fields, ",") + `]}`
	}
	enum := func(symbols, rest string) string {
		return `{"type":"enum","name":"E","symbols":[` + symbols + `]` + rest + `}`
	}
	a, b := `{"name":"a","type":"int"}`, `{"name":"b","type":"string"}`
	for _, c := range []struct{ name, writer, reader, data, want string }{
		{"int to long", `"int"`, `"long"`, "03", "03"},
		{"int to float", `"int"`, `"float"`, "02", "0000803f"},
		{"long to double", `"long"`, `"double"`, "02", "000000000000f03f"},
		{"float to double", `"float"`, `"double"`, "0000803f", "000000000000f03f"},
		{"string to bytes", `"string"`, `"bytes"`, "0261", "0261"},
		{"bytes to string", `"bytes"`, `"string"`, "0261", "0261"},
		{"fields by name", record("R", a, b), record("R", b, a), "020278", "027802"},
		{"a field is gone", record("R", a, b), record("R", b), "020278", "0278"},
		{"a field is added", record("R", a), record("R", `{"name":"c","type":["null","int"],"default":null}`, a), "02", "0002"},
		{"a field's alias", record("R", a), record("R", `{"name":"z","type":"long","aliases":["x","a"]}`), "02", "02"},
		{"the name before the alias", record("R", a, `{"name":"z","type":"int"}`), record("R", `{"name":"z","type":"int","aliases":["a"]}`), "0204", "04"},
		{"another namespace", record("x.R", a), record("y.R", a), "02", "02"},
		{"a record's alias", record("x.Old", a), `{"type":"record","name":"New","aliases":["x.Old"],"fields":[` + a + `]}`, "02", "02"},
		{"enum by symbol", enum(`"A","B"`, ""), enum(`"B","A"`, ""), "00", "02"},
		{"enum's default", enum(`"A","B"`, ""), enum(`"C","A"`, `,"default":"C"`), "02", "00"},
		{"array", `{"type":"array","items":"int"}`, `{"type":"array","items":"double"}`, "01020200", "02000000000000f03f00"},
		{"map", `{"type":"map","values":"int"}`, `{"type":"map","values":["null","long"]}`, "02026b0200", "02026b020200"},
		{"into a union", `"int"`, `["null","long"]`, "02", "0202"},
		{"the same type first", `"long"`, `["double","long"]`, "02", "0202"},
		{"out of a union", `["int","long"]`, `"double"`, "0202", "000000000000f03f"},
		{"union to union", `["null","int"]`, `["long","string","null"]`, "0202", "0002"},
		{"union to union, null", `["null","int"]`, `["long","string","null"]`, "00", "04"},
		{"recursive", record("L", a, `{"name":"next","type":["null","L"]}`), record("L", `{"name":"next","type":["null","L"]}`, `{"name":"a","type":"long"}`), "0202040206" + "00", "0202000602" + "" + "04"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "recursive" {
				c.want = "02" + "02" + "00" + "06" + "04" + "02" // inner values come before the outer's number
			}
			w, r := mustParse(t, c.writer), mustParse(t, c.reader)
			resolver, err := NewResolver(w, r)
			if err != nil {
				t.Fatal(err)
			}
			data, _ := hex.DecodeString(c.data)
			got, err := resolver.Append([]byte("x"), data)
			if err != nil || hex.EncodeToString(got[1:]) != c.want {
				t.Errorf("%x became %x, want %s (%v)", data, got[1:], c.want, err)
			}
			if err := Validate(r, got[1:]); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	for _, c := range []struct{ name, writer, reader, says string }{
		{"long to int", `"long"`, `"int"`, "$: the writer has long, the reader int"},
		{"enum to string", `{"type":"enum","name":"E","symbols":["A"]}`, `"string"`, "the writer has E (enum)"},
		{"no default", event("R", ""), event("R", `{"name":"a","type":["null","int"]}`), "$.a: the writer does not have the field"},
		{"renamed", event("R", ""), event("S", ""), "the writer has R (record), the reader S (record)"},
		{"alias of the writer", `{"type":"record","name":"R","aliases":["S"],"fields":[]}`, event("S", ""), "the writer has R"},
		{"symbol", `{"type":"enum","name":"E","symbols":["A","B"]}`, `{"type":"enum","name":"E","symbols":["A"]}`, `neither the symbol "B" nor a default`},
		{"fixed size", `{"type":"fixed","name":"F","size":1}`, `{"type":"fixed","name":"F","size":2}`, "1 bytes at the writer, 2"},
		{"branch", `["null","int"]`, `"int"`, "the writer has null"},
		{"no branch", `"string"`, `["null","int"]`, "no branch of the reader's union takes string"},
		{"decimal", `{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`, `{"type":"bytes","logicalType":"decimal","precision":4,"scale":1}`, "decimal(4,2)"},
		{"units", `{"type":"long","logicalType":"timestamp-millis"}`, `{"type":"long","logicalType":"timestamp-micros"}`, "the writer has timestamp-millis"},
		{"inside", event("R", `{"name":"x","type":{"type":"array","items":{"type":"map","values":"long"}}}`),
			event("R", `{"name":"x","type":{"type":"array","items":{"type":"map","values":"int"}}}`), "$.x[]{}: the writer has long"},
		{"after the recursion", `{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]},{"name":"v","type":"long"}]}`,
			`{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]},{"name":"v","type":"int"}]}`, "$.v: the writer has long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := NewResolver(mustParse(t, c.writer), mustParse(t, c.reader))
			wantFault(t, err, ErrIncompatible, c.says)
		})
	}
	_, err := NewResolver(mustParse(t, event("R", `{"name":"a","type":"string"},{"name":"b","type":"string"}`)),
		mustParse(t, event("R", `{"name":"a","type":"int"},{"name":"b","type":"int"},{"name":"c","type":"int"}`)))
	wantFault(t, err, ErrIncompatible, "$.a:", "$.b:", "$.c:")
}

func TestResolveRefusesData(t *testing.T) {
	r, err := NewResolver(mustParse(t, event("R", `{"name":"a","type":{"type":"array","items":"bytes"}}`)),
		mustParse(t, event("R", `{"name":"a","type":{"type":"array","items":"string"}}`)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Append(nil, []byte{4, 2, 'a', 2, 0xff, 0})
	wantFault(t, err, ErrInvalidAvro, "$.a[1]: a string is not UTF-8 (at byte 4")
	_, err = r.Append(nil, []byte{4, 2, 'a'})
	wantFault(t, err, ErrInvalidAvro)
}

// Items that take no bytes at the writer could become very many at the reader.
func TestResolveBoundsItsResult(t *testing.T) {
	items := func(field string) string {
		return `{"type":"array","items":{"type":"record","name":"I","fields":[` + field + `]}}`
	}
	r, err := NewResolver(mustParse(t, items("")), mustParse(t, items(`{"name":"s","type":"string","default":"`+strings.Repeat("x", 3000)+`"}`)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Append(nil, []byte{0xe0, 0xd4, 0x03, 0}) // 30,000 empty records
	wantFault(t, err, ErrInvalidAvro, "under the reader's schema")
}
