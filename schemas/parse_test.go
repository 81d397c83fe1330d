package schemas

import (
	"errors"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/fault"
)

func TestParseFaults(t *testing.T) {
	field := func(rest string) string {
		return `{"type":"record","name":"R","fields":[{"name":"f",` + rest + `}]}`
	}
	for _, c := range []struct {
		name, text, where string
		code              *fault.Code
		says              string
	}{
		{"syntax", "{\n  \"type\": \"record\",,\n}", "t.avsc:2:20", ErrSyntax, "expected a key"},
		{"column in characters", `{"döc": tru}`, "t.avsc:1:9", ErrSyntax, "expected true"},
		{"trailing", `"int" 1`, "t.avsc:1:7", ErrSyntax, "after the value"},
		{"empty", ``, "t.avsc:1:1", ErrSyntax, "end of text"},
		{"duplicate key", `{"type":"int","type":"int"}`, "t.avsc:1:15", ErrSyntax, "twice"},
		{"no type", `{"name":"R"}`, "t.avsc:1:1", ErrSyntax, `"type"`},
		{"number", `5`, "t.avsc:1:1", ErrSyntax, "expected a schema"},
		{"no name", `{"type":"record","fields":[]}`, "t.avsc:1:1", ErrSyntax, `needs a "name"`},
		{"no fields", `{"type":"record","name":"R"}`, "t.avsc:1:1", ErrSyntax, `needs "fields"`},
		{"no field type", `{"type":"record","name":"R","fields":[{"name":"f"}]}`, "t.avsc:1:39", ErrSyntax, `needs a "type"`},
		{"order", field(`"type":"int","order":"up"`), "t.avsc:1:72", ErrSyntax, "ascending"},
		{"size", `{"type":"fixed","name":"F","size":-1}`, "t.avsc:1:35", ErrSyntax, "size"},
		{"attributes of a reference", field(`"type":{"type":"R","logicalType":"date"}`), "t.avsc:1:58", ErrSyntax, "reference"},
		{"unresolved", field(`"type":"Mony"`), "t.avsc:1:58", ErrUnresolvedReference, `"Mony"`},
		{"array as name", field(`"type":"array","items":"int"`), "t.avsc:1:58", ErrUnresolvedReference, "object of its own"},
		{"duplicate name", field(`"type":{"type":"enum","name":"R","symbols":["A"]}`), "t.avsc:1:80", ErrDuplicateName, "already defined at t.avsc:1:1"},
		{"duplicate field", `{"type":"record","name":"R","fields":[{"name":"f","type":"int"},{"name":"f","type":"int"}]}`, "t.avsc:1:65", ErrDuplicateName, "two fields named \"f\"\nRename one of them, or take it out."},
		{"duplicate symbol", `{"type":"enum","name":"E","symbols":["A","A"]}`, "t.avsc:1:42", ErrDuplicateName, "two symbols \"A\"\nRename one of them, or take it out."},
		{"name", `{"type":"record","name":"order-placed","fields":[]}`, "t.avsc:1:25", ErrInvalidName, "order-placed"},
		{"namespace", `{"type":"record","name":"R","namespace":"a..b","fields":[]}`, "t.avsc:1:25", ErrInvalidName, "a..b"},
		{"reserved", `{"type":"record","name":"string","fields":[]}`, "t.avsc:1:25", ErrInvalidName, "Avro's own"},
		{"field name", `{"type":"record","name":"R","fields":[{"name":"1","type":"int"}]}`, "t.avsc:1:47", ErrInvalidName, `"1"`},
		{"symbol", `{"type":"enum","name":"E","symbols":["a b"]}`, "t.avsc:1:38", ErrInvalidName, "a b"},
		{"aggregate name", `{"type":"record","name":"R","fields":[],"aggregate":"a/b"}`, "t.avsc:1:53", ErrInvalidName, "a/b"},
		{"default", field(`"type":"int","default":"x"`), "t.avsc:1:74", ErrInvalidDefault, "expected int"},
		{"default of a union", field(`"type":["null","string"],"default":5`), "t.avsc:1:86", ErrInvalidDefault, "expected string, found a number"},
		{"default of no branch", field(`"type":["null","int","string"],"default":true`), "t.avsc:1:92", ErrInvalidDefault, "no branch of the union takes a boolean"},
		{"default inside a branch", field(`"type":["null",{"type":"array","items":"int"},"string"],"default":[1,true]`), "t.avsc:1:120", ErrInvalidDefault, "expected int, found true"},
		{"default out of range", field(`"type":"int","default":2147483648`), "t.avsc:1:74", ErrInvalidDefault, "2147483648"},
		{"default of an enum", `{"type":"enum","name":"E","symbols":["A"],"default":"B"}`, "t.avsc:1:53", ErrInvalidDefault, "not a symbol"},
		{"default inside", field(`"type":{"type":"array","items":"int"},"default":[1,"x"]`), "t.avsc:1:102", ErrInvalidDefault, "expected int"},
		{"default without end", `{"type":"record","name":"R","fields":[{"name":"f","type":["R","null"],"default":{}}]}`, "t.avsc:1:81", ErrInvalidDefault, "never ends"},
		{"union in union", `["null",["int"]]`, "t.avsc:1:9", ErrInvalidUnion, "directly"},
		{"union twice", `["int","int"]`, "t.avsc:1:8", ErrInvalidUnion, "twice"},
		{"union empty", `[]`, "t.avsc:1:1", ErrInvalidUnion, "needs a branch"},
		{"alias", `{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","aliases":["a"]}]}`, "t.avsc:1:65", ErrInvalidAlias, "already a field"},
		{"unbounded", field(`"type":"R"`), "t.avsc:1:1", ErrUnbounded, "always contains itself"},
		{"too deep", strings.Repeat(`[`, 600), "t.avsc:1:501", ErrSchemaTooLarge, "nested"},
		{"not an event", `{"type":"enum","name":"E","symbols":["A"],"aggregate":"x"}`, "t.avsc:1:55", ErrNotAnEvent, "only a record"},
		{"aggregate", `{"type":"record","name":"R","fields":[],"aggregate":1}`, "t.avsc:1:53", ErrNotAnEvent, "aggregate type"},
		{"aggregate's name", `{"type":"record","name":"R","fields":[],"aggregate":"a b"}`, "t.avsc:1:53", ErrInvalidName, "letters, digits, _ - and .\nWrite it with letters, digits, _ - and . alone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.text), "t.avsc")
			wantFault(t, err, c.code, c.says)
			if got := fault.Find(err).Where; got != c.where {
				t.Errorf("at %s, want %s (%v)", got, c.where, err)
			}
		})
	}
	_, err := Parse(make([]byte, maxSchemaBytes+1), "big.avsc")
	wantFault(t, err, ErrSchemaTooLarge, "big.avsc")
}

func TestParseCollectsAllFaults(t *testing.T) {
	_, err := Parse([]byte(`{"type":"record","name":"R","fields":[
	  {"name":"a","type":"Nothing"}, {"name":"b c","type":"int"}, {"name":"d","type":["int","int"]}]}`), "t.avsc")
	for _, code := range []error{ErrUnresolvedReference, ErrInvalidName, ErrInvalidUnion} {
		if !errors.Is(err, code) {
			t.Errorf("%v is missing from %v", code, err)
		}
	}
}

func TestNamespacesAndReferences(t *testing.T) {
	s := mustParse(t, `{"type":"record","name":"a.b.R","fields":[
	  {"name":"x","type":{"type":"enum","name":"E","symbols":["A"]}},
	  {"name":"y","type":{"type":"record","name":"Q","namespace":"c","fields":[{"name":"z","type":["null","a.b.E"]},{"name":"q","type":["null","Q"]}]}},
	  {"name":"later","type":"F"},
	  {"name":"f","type":{"type":"fixed","name":"F","namespace":"","size":2}}]}`)
	for path, want := range map[string]string{"x": "a.b.E", "y": "c.Q", "f": "F"} {
		f, _ := s.Field(path)
		if got := f.Type.FullName(); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	y, _ := s.Field("y")
	if x, _ := s.Field("x"); y.Type.Fields[0].Type.Branches[1] != x.Type || y.Type.Fields[1].Type.Branches[1] != y.Type {
		t.Error("references are not the types they name")
	}
	again := mustParse(t, s.Normalised())
	if again.Normalised() != s.Normalised() || again.Fingerprint() != s.Fingerprint() {
		t.Errorf("normalised differently a second time:\n%s\n%s", s.Normalised(), again.Normalised())
	}
}

func TestLogicalTypesThatDoNotFitAreProperties(t *testing.T) {
	for text, want := range map[string]Logical{
		`{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}`:           Decimal,
		`{"type":"bytes","logicalType":"decimal","precision":4}`:                     Decimal,
		`{"type":"bytes","logicalType":"decimal","precision":2,"scale":4}`:           NoLogical,
		`{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":4}`: Decimal,
		`{"type":"fixed","name":"F","size":2,"logicalType":"decimal","precision":5}`: NoLogical,
		`{"type":"string","logicalType":"decimal","precision":2}`:                    NoLogical,
		`{"type":"string","logicalType":"uuid"}`:                                     UUID,
		`{"type":"fixed","name":"F","size":16,"logicalType":"uuid"}`:                 UUID,
		`{"type":"fixed","name":"F","size":12,"logicalType":"duration"}`:             Duration,
		`{"type":"int","logicalType":"timestamp-millis"}`:                            NoLogical,
		`{"type":"long","logicalType":"local-timestamp-nanos"}`:                      LocalTimestampNanos,
		`{"type":"long","logicalType":"of-our-own"}`:                                 NoLogical,
		`{"type":"int","logicalType":5}`:                                             NoLogical,
	} {
		s := mustParse(t, text)
		if s.Logical != want {
			t.Errorf("%s: logical type %v, want %v", text, s.Logical, want)
		}
		if again := mustParse(t, s.Normalised()); again.Normalised() != s.Normalised() || (want == NoLogical && s.Props["logicalType"] == nil) {
			t.Errorf("%s became %s", text, s.Normalised())
		}
	}
}

func TestFingerprintCovers(t *testing.T) {
	base := `{"type":"record","name":"R","fields":[{"name":"f","type":{"type":"long"},"default":1},{"name":"e","type":{"type":"enum","name":"E","symbols":["A"]}}]}`
	fp := mustParse(t, base).Fingerprint()
	same := []string{
		strings.ReplaceAll(base, ",", " ,\n "),
		strings.Replace(base, `{"type":"long"}`, `"long"`, 1),
		strings.Replace(base, `"name":"R"`, `"doc":"some words","name":"R","namespace":""`, 1),
		strings.Replace(base, `"default":1`, `"order":"ascending","default":1,"doc":"x"`, 1),
	}
	for _, text := range same {
		if got := mustParse(t, text).Fingerprint(); got != fp {
			t.Errorf("%s has another fingerprint", text)
		}
	}
	seen := map[Fingerprint]string{fp: base}
	for _, edit := range [][2]string{
		{`"long"`, `"long","logicalType":"timestamp-micros"`}, {`"default":1`, `"default":2`}, {`"default":1`, `"aliases":["g"]`},
		{`"name":"R"`, `"name":"R","aliases":["Q"]`}, {`["A"]`, `["A"],"default":"A"`}, {`"default":1`, `"default":1,"pii":true`},
		{`"name":"R"`, `"name":"R","owner":"x"`}, {`"default":1`, `"default":1,"order":"ignore"`},
	} {
		text := strings.Replace(base, edit[0], edit[1], 1)
		got := mustParse(t, text).Fingerprint()
		if other, ok := seen[got]; ok {
			t.Errorf("%s and %s have the same fingerprint", text, other)
		}
		seen[got] = text
	}
}

func TestDefaultsInAvro(t *testing.T) {
	for text, want := range map[string]string{
		`"type":"int","default":-1`:                                           "\x01",
		`"type":["null","int"],"default":null`:                                "\x00",
		`"type":["int","null"],"default":1`:                                   "\x00\x02",
		`"type":"bytes","default":"\u00ffA"`:                                  "\x04\xffA",
		`"type":"string","default":"é"`:                                       "\x04é",
		`"type":{"type":"map","values":"int"},"default":{"a":1}`:              "\x02\x02a\x02\x00",
		`"type":{"type":"array","items":"int"},"default":[]`:                  "\x00",
		`"type":"double","default":1`:                                         "\x00\x00\x00\x00\x00\x00\xf0\x3f",
		`"type":"float","default":1`:                                          "\x00\x00\x80\x3f",
		`"type":"boolean","default":true`:                                     "\x01",
		`"type":{"type":"enum","name":"E","symbols":["A","B"]},"default":"B"`: "\x02",
		`"type":{"type":"fixed","name":"F","size":2},"default":"ab"`:          "ab",
		`"type":{"type":"record","name":"S","fields":[{"name":"a","type":"int","default":3},{"name":"b","type":"int"}]},"default":{"b":1}`: "\x06\x02",
	} {
		s := mustParse(t, `{"type":"record","name":"R","fields":[{"name":"f",`+text+`}]}`)
		got, ok := s.Fields[0].DefaultAvro()
		if string(got) != want || !ok {
			t.Errorf("%s: % x, want % x", text, got, want)
		}
	}
}
