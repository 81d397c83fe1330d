package schemas

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fuzzSchemas are those that the fuzzers of data choose from.
func fuzzSchemas(t testing.TB) []*Schema {
	t.Helper()
	var out []*Schema
	for _, e := range sampleCatalog(t).Events() {
		out = append(out, e.Schema)
	}
	for _, text := range []string{
		`{"type":"record","name":"L","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","L"]}]}`,
		`{"type":"array","items":["null","boolean","int","long","float","double","bytes","string",{"type":"array","items":"null"}]}`,
		`{"type":"map","values":{"type":"record","name":"N","fields":[{"name":"a","type":"null"}]}}`,
		`{"type":"record","name":"T","fields":[{"name":"a","type":{"type":"int","logicalType":"time-millis"}},
		 {"name":"b","type":{"type":"long","logicalType":"timestamp-nanos"}},{"name":"c","type":{"type":"long","logicalType":"local-timestamp-millis"}},
		 {"name":"d","type":{"type":"fixed","name":"D","size":12,"logicalType":"duration"}},{"name":"u","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}},
		 {"name":"f","type":["null",{"type":"fixed","name":"X","size":4,"logicalType":"decimal","precision":9,"scale":9}]}]}`,
	} {
		out = append(out, mustParse(t, text))
	}
	return out
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/catalog/*.avsc")
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(flat))
	f.Add([]byte(`{"type":"record","name":"a.R","aliases":["Q"],"fields":[{"name":"f","type":["null","a.R",{"type":"map","values":{"type":"enum","name":"E","symbols":["A"],"default":"A"}}],"default":null,"order":"ignore"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text, "fuzz")
		if err != nil {
			return
		}
		again, err := Parse([]byte(s.Normalised()), "again")
		if err != nil {
			t.Fatalf("%s: normalised %s: %v", text, s.Normalised(), err)
		}
		if again.Normalised() != s.Normalised() {
			t.Fatalf("%s: normalised %s and then %s", text, s.Normalised(), again.Normalised())
		}
		if documented := mustParse(t, s.JSON()); documented.Fingerprint() != s.Fingerprint() {
			t.Fatalf("%s: with docs %s", text, s.JSON())
		}
	})
}

func FuzzValidate(f *testing.F) {
	schemas := fuzzSchemas(f)
	_, data := flatEvent(f)
	f.Add(uint8(0), data)
	f.Add(uint8(4), []byte{2, 2, 4, 0})
	f.Add(uint8(5), []byte{4, 0, 4, 2, 1, 2, 14, 2, 'a', 0})
	f.Add(uint8(6), []byte{1, 4, 2, 'k', 0})
	f.Fuzz(func(t *testing.T, n uint8, data []byte) {
		s := schemas[int(n)%len(schemas)]
		if Validate(s, data) != nil {
			return
		}
		if err := readAll(s, data); err != nil {
			t.Fatalf("% x: %v", data, err)
		}
		text, err := AppendAvroToJSON(nil, s, data)
		if err != nil {
			t.Fatal(err)
		}
		back, err := AppendJSONToAvro(nil, s, text)
		if err != nil {
			if !strings.Contains(err.Error(), "given twice") { // a map's key
				t.Fatalf("%s: %v", text, err)
			}
			return
		}
		if again, err := AppendAvroToJSON(nil, s, back); err != nil || !bytes.Equal(text, again) {
			t.Fatalf("%s became %s (%v)", text, again, err)
		}
	})
}

func FuzzJSON(f *testing.F) {
	schemas := fuzzSchemas(f)
	f.Add(uint8(3), placedJSON)
	f.Add(uint8(2), `{"order_id":"0190163d-8694-739b-aea5-966c26f8ad91","amount":{"amount":1e2},"paid_on":"2024-01-01","method":{"Voucher":{"code":"x"}}}`)
	f.Add(uint8(4), `{"v":1,"next":{"L":{"v":-2.0e0,"next":null}}}`)
	f.Add(uint8(5), `[null,true,1,1.5,"x",{"bytes":"\u00ff"},[null],{"array":[]}]`)
	f.Add(uint8(7), `{"a":"12:00:00","b":"2024-01-01T00:00:00.123456789+01:00","c":"2024-01-01T00:00:00","d":{"days":1},"u":"0190163d-8694-739b-aea5-966c26f8ad91","f":-0.123}`)
	f.Fuzz(func(t *testing.T, n uint8, text string) {
		s := schemas[int(n)%len(schemas)]
		data, err := AppendJSONToAvro(nil, s, []byte(text))
		if err != nil {
			return
		}
		if err := Validate(s, data); err != nil {
			t.Fatalf("%s became % x: %v", text, data, err)
		}
		plain, err := AppendAvroToJSON(nil, s, data)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := AppendJSONToAvro(nil, s, plain); err != nil || !bytes.Equal(back, data) {
			t.Fatalf("%s became %s: % x, then % x (%v)", text, plain, data, back, err)
		}
	})
}

func FuzzResolve(f *testing.F) {
	f.Add(flat, `{"type":"record","name":"ItemReserved","fields":[{"name":"sku","type":"bytes"},{"name":"new","type":["null","int"],"default":null}]}`, []byte(nil))
	f.Add(`{"type":"record","name":"L","fields":[{"name":"v","type":"int"},{"name":"next","type":["null","L"]}]}`,
		`{"type":"record","name":"L","fields":[{"name":"next","type":["L","null"]},{"name":"v","type":["double","long"]}]}`, []byte{2, 2, 4, 0})
	f.Add(`["null",{"type":"map","values":"float"}]`, `[{"type":"map","values":"double"},"null"]`, []byte{2, 0})
	f.Fuzz(func(t *testing.T, writerText, readerText string, data []byte) {
		writer, err := Parse([]byte(writerText), "")
		if err != nil {
			return
		}
		reader, err := Parse([]byte(readerText), "")
		if err != nil {
			return
		}
		if _, err := NewResolver(writer, writer); err != nil {
			t.Fatalf("%s cannot be read as itself: %v", writerText, err)
		}
		r, err := NewResolver(writer, reader)
		if err != nil {
			return
		}
		got, err := r.Append(nil, data)
		if err != nil {
			return
		}
		if err := Validate(reader, got); err != nil {
			t.Fatalf("writer %s\nreader %s\n% x became % x: %v", writerText, readerText, data, got, err)
		}
	})
}
