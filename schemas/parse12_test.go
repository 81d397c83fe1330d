package schemas

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// What Avro 1.12 allows and 1.11 does not: Parse accepts it; a catalog, an event
// and a topic's schema do not.
func TestAvro12(t *testing.T) {
	field := func(rest string) string {
		return `{"type":"record","name":"R","aggregate":"r","fields":[{"name":"f",` + rest + `}]}`
	}
	for _, c := range []struct {
		name, text, where string
		code              *fault.Code
		says              string
	}{
		{"default of a later branch", field(`"type":["null","string"],"default":"x"`), "R.avsc:1:102", ErrInvalidDefault, "first branch"},
		{"of a later branch, inside", field(`"type":{"type":"array","items":["null","int"]},"default":[null,1]`), "R.avsc:1:130", ErrInvalidDefault, "first branch"},
		{"named after a complex type", field(`"type":{"type":"enum","name":"x.array","symbols":["A"]}`), "R.avsc:1:96", ErrInvalidName, "Avro's own"},
		{"an alias that is no name", `{"type":"record","name":"R","aggregate":"r","aliases":["order-placed"],"fields":[]}`, "R.avsc:1:56", ErrInvalidName, "order-placed"},
		{"metadata of a reference", field(`"type":["null",{"type":"R","x":1}]`), "R.avsc:1:82", ErrSyntax, `the attribute "x"`},
		{"of a field", field(`"type":"int","aliases":["1st"]`), "R.avsc:1:91", ErrInvalidName, "1st"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := mustParse(t, c.text)
			if again := mustParse(t, s.Normalised()); again.Normalised() != s.Normalised() {
				t.Errorf("%s, and then %s", s.Normalised(), again.Normalised())
			}
			if len(s.Fields) > 0 && s.Fields[0].OldDefault() != (c.code != ErrInvalidDefault) {
				t.Error("OldDefault")
			}
			_, err := Load(fstest.MapFS{"R.avsc": {Data: []byte(c.text)}}, ".")
			wantFault(t, err, c.code, c.says)
			if got := fault.Find(err).Where; got != c.where {
				t.Errorf("at %s, want %s", got, c.where)
			}
			_, err = ParseEventType(c.text)
			wantFault(t, err, c.code, c.says)
			_, err = ParseTopicSchema(`{"type":"record","name":"T","fields":[{"name":"event","type":[`+c.text+`]}]}`, 0)
			wantFault(t, err, c.code, c.says)
		})
	}
}

// The default of a union is of the first branch that it fits, and encoded as such.
func TestDefaultBranch(t *testing.T) {
	const pair = `{"type":"record","name":"A","fields":[{"name":"a","type":"int"}]},{"type":"record","name":"B","fields":[{"name":"a","type":"int"},{"name":"b","type":"int","default":3}]}`
	for text, want := range map[string]struct {
		branch int
		avro   string
		old    bool
	}{
		`"type":["null","string"],"default":null`:                                                             {0, "\x00", true},
		`"type":["null","string"],"default":"x"`:                                                              {1, "\x02\x02x", false},
		`"type":["int","long"],"default":2147483648`:                                                          {1, "\x02\x80\x80\x80\x80\x10", false},
		`"type":["int","double"],"default":1.0`:                                                               {1, "\x02\x00\x00\x00\x00\x00\x00\xf0\x3f", false},
		`"type":["string","bytes"],"default":"x"`:                                                             {0, "\x00\x02x", true},
		`"type":["bytes","string"],"default":"€"`:                                                             {1, "\x02\x06€", false},
		`"type":[` + pair + `],"default":{"a":1}`:                                                             {0, "\x00\x02", true},
		`"type":[` + pair + `],"default":{"a":1,"b":2}`:                                                       {1, "\x02\x02\x04", false},
		`"type":[{"type":"enum","name":"E","symbols":["P"]},"string"],"default":"Q"`:                          {1, "\x02\x02Q", false},
		`"type":[{"type":"array","items":"int"},{"type":"map","values":"int"}],"default":{}`:                  {1, "\x02\x00", false},
		`"type":{"type":"map","values":["null","int"]},"default":{"k":1}`:                                     {0, "\x02\x02k\x02\x02\x00", false},
		`"type":[{"type":"array","items":["null","int"]},"null"],"default":[1,null]`:                          {0, "\x00\x04\x02\x02\x00\x00", false},
		`"type":[{"type":"array","items":["null","int"]},{"type":"fixed","name":"X","size":1}],"default":"x"`: {1, "\x02x", false},
	} {
		s := mustParse(t, `{"type":"record","name":"R","fields":[{"name":"f",`+text+`}]}`)
		f := s.Fields[0]
		if got, _ := f.DefaultAvro(); string(got) != want.avro || f.DefaultBranch != want.branch || f.OldDefault() != want.old {
			t.Errorf("%s: branch %d, % x, old %v", text, f.DefaultBranch, got, f.OldDefault())
		}
	}
	// A field that a default leaves out brings its own.
	s := mustParse(t, `{"type":"record","name":"R","fields":[{"name":"f","default":{},"type":
		{"type":"record","name":"S","fields":[{"name":"g","type":["null","int"],"default":1}]}}]}`)
	if s.Fields[0].OldDefault() || s.Fields[0].DefaultBranch != 0 {
		t.Error("the default inside is not seen")
	}
}

// A few lines can make a default that would take forever.
func TestDefaultsAreBounded(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"type":"record","name":"R0","fields":[]}`)
	text := b.String()
	for i := 1; i < 60; i++ {
		name := "R" + strings.Repeat("x", i)
		inner := text
		text = `{"type":"record","name":"` + name + `","fields":[{"name":"a","type":` + inner + `,"default":{}},{"name":"b","type":"R` +
			map[bool]string{true: "0", false: strings.Repeat("x", i-1)}[i == 1] + `","default":{}}]}`
	}
	_, err := Parse([]byte(text), "")
	wantFault(t, err, ErrInvalidDefault, "never ends, or is too large")
}

func TestTypesNamedAfterComplexTypes(t *testing.T) {
	s := mustParse(t, `[{"type":"array","items":"int"},{"type":"record","name":"array","fields":[{"name":"r","type":["null","array"]}]},
		{"type":"record","name":"x.union","fields":[{"name":"u","type":["null","union"]}]}]`)
	if s.Branches[1].Fields[0].Type.Branches[1] != s.Branches[1] || s.Branches[2].Fields[0].Type.Branches[1] != s.Branches[2] {
		t.Error("the names do not lead to the types")
	}
	_, err := Parse([]byte(`{"type":"fixed","name":"x.string","size":1}`), "")
	wantFault(t, err, ErrInvalidName, "Avro's own")
}
