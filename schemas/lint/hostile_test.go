package lint

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/schemas"
)

// lintOne looks at a folder of one file.
func lintOne(t *testing.T, src string, o Options) []Finding {
	t.Helper()
	found, err := Dir(fstest.MapFS{"A.avsc": {Data: []byte(src)}}, ".", o)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLarge(t *testing.T) {
	var wide strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&wide, ",\n"+`{"name":"f%d","type":["null",{"type":"long","logicalType":"timestamp-micros"}],"default":null,"doc":"The %dth of all."}`, i, i)
	}
	record := `{"type":"record","name":"A","aggregate":"a","doc":"%s",
"fields":[
` + wide.String()[2:] + `%s]}`
	if found := lintOne(t, fmt.Sprintf(record, "Wide.", ""), Options{}); len(found) > 0 {
		t.Errorf("1000 fields: %v", found)
	}
	if found := lintOne(t, fmt.Sprintf(record, strings.Repeat("word ", 400_000), ""), Options{}); len(found) > 0 {
		t.Errorf("2 MB: %v", found)
	}
	if found := lintOne(t, fmt.Sprintf(record, strings.Repeat("word ", 900_000), ""), Options{}); len(found) != 1 || found[0].Rule != "SCHEMA_TOO_LARGE" {
		t.Errorf("4.5 MB: %v", found)
	}
	deep := strings.Repeat(`{"type":"array","items":`, 10_000) + `"int"` + strings.Repeat("}", 10_000)
	if found := lintOne(t, fmt.Sprintf(record, "Deep.", ",\n"+`{"name":"deep","type":`+deep+"}"), Options{}); len(found) != 1 || found[0].Rule != "SCHEMA_TOO_LARGE" || found[0].Pos.Line != 1003 {
		t.Errorf("10000 deep: %v", found)
	}
	deep = strings.Repeat(`{"type":"array","items":`, 490) + `"double"` + strings.Repeat("}", 490)
	if found := lintOne(t, fmt.Sprintf(record, "Deep.", ",\n"+`{"name":"total","doc":"Deep.","type":`+deep+"}"), Options{}); len(found) != 1 || found[0].Rule != "MONEY_AS_FLOAT" {
		t.Errorf("490 deep: %v", found)
	}
}

// A chain of files that refer to each other, of which the last is broken, is one
// finding; so is each of more than the parser reports at once.
func TestManyFiles(t *testing.T) {
	fsys := fstest.MapFS{}
	add := func(name, src string) { fsys[name] = &fstest.MapFile{Data: []byte(src)} }
	for i := range 30 {
		add(fmt.Sprintf("R%d.avsc", i), fmt.Sprintf(`{"type":"record","name":"R%d","doc":"One.","fields":[{"name":"f","type":"R%d","doc":"The next."}]}`, i, i+1))
	}
	add("R30.avsc", `{"type":"record","name":"R30","fields":[{"name":"R31","type":"R31"}]}`)
	found, err := Dir(fsys, ".", Options{})
	if err != nil || len(found) != 1 || found[0].Rule != "SCHEMA_UNRESOLVED_REFERENCE" || found[0].Pos.File != "R30.avsc" {
		t.Errorf("a chain: %v, %v", found, err)
	}
	clear(fsys)
	for i := range 250 {
		add(fmt.Sprintf("R%d.avsc", i), "{")
	}
	if found, err := Dir(fsys, ".", Options{}); err != nil || len(found) != 250 {
		t.Errorf("250 files: %d findings, %v", len(found), err)
	}
}

func TestDirErrors(t *testing.T) {
	good := fstest.MapFS{"s/A.avsc": {Data: []byte(`{"type":"enum","name":"A","symbols":["X"]}`)}}
	for _, tc := range []struct {
		fsys   fstest.MapFS
		dir    string
		ignore string
		code   *fault.Code
	}{
		{good, "nowhere", "", schemas.ErrCatalogMissing},
		{fstest.MapFS{"s/README.md": {}}, "s", "", schemas.ErrCatalogEmpty},
		{good, "s", "ENUM_WITHOUT_DEFAULTS", ErrRuleUnknown},
		{good, "s", "SCHEMA_SYNTAX", ErrRuleUnknown},
	} {
		o := Options{}
		if tc.ignore != "" {
			o.Ignore = []string{tc.ignore}
		}
		if found, err := Dir(tc.fsys, tc.dir, o); !errors.Is(err, tc.code) || found != nil {
			t.Errorf("%s %s: %v, %v", tc.dir, tc.ignore, found, err)
		}
	}
	_, err := Dir(good, "s", Options{Ignore: []string{"ENUM_WITHOUT_DEFAULTS"}})
	if e := fault.Find(err); e == nil || e.WhatToDo() != "Did you mean ENUM_WITHOUT_DEFAULT?" {
		t.Error(err)
	}
	o := Options{Ignore: []string{"ENUM_WITHOUT_DEFAULT", "TYPE_WITHOUT_DOC", "TYPE_UNUSED"}}
	if found, err := Dir(good, "s", o); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
}

// The catalogs of this tree are as lint wants them.
func TestOwnCatalogs(t *testing.T) {
	for _, dir := range []string{"examples/quickstart/schemas", "examples/watched/schemas", "internal/copytest/schemas"} {
		found, err := Dir(os.DirFS("../.."), dir, Options{})
		if err != nil {
			t.Error(err)
		}
		for _, f := range found {
			t.Errorf("%s\n  %s", f, f.Fix)
		}
	}
}

// FuzzDir: whatever a file holds, each finding has a rule or a code, a place in the
// file and something to do.
func FuzzDir(f *testing.F) {
	for _, seed := range []string{
		`{"type":"record","name":"A","aggregate":"a","fields":[{"name":"total","type":["null","double"]}]}`,
		`{"type":"record","name":"a.B","aliases":["C"],"fields":[{"name":"b","type":{"type":"array","items":"B"},"default":[{"b":[]}]}]}`,
		`{"type":"fixed","name":"F","size":3,"logicalType":"decimal","precision":9}`,
		`{"type":"enum","name":"_","symbols":["_","__"],"deprecated":[]}`,
		`{"type":"record","name":"R","fields":[{"name":"_","type":"int","doc":"_","logicalType":{}}]}`,
		`{"type":"record","name":"R","fields":[{"name":"x","type":{"type":"bytes","precision":1e9,"logicalType":"decimal"}}]}`,
		`{"type":"record","name":"R","a":1,"":2,"é":3,"fields":[{"name":"m","type":{"type":"map","values":["string","bytes"],"default":{}},"default":{"k":"v"}}]}`,
	} {
		f.Add([]byte(seed), []byte("lint: {ignore: [{rule: TYPE_UNUSED, path: '*'}]}"))
	}
	f.Fuzz(func(t *testing.T, src, file []byte) {
		found, err := Dir(fstest.MapFS{"A.avsc": {Data: src}, "catalog.yaml": {Data: file}}, ".", Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range found {
			if x.Rule == "" || x.Message == "" || x.Fix == "" || x.Pos.File != "A.avsc" && x.Pos.File != "catalog.yaml" || isRule(x.Rule) && x.Pos.Line == 0 {
				t.Errorf("%+v", x)
			}
		}
	})
}
