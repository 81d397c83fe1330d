package catalogfile

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/schemas"
)

func TestRead(t *testing.T) {
	if f, err := Read(fstest.MapFS{}, "schemas"); err != nil || len(f.Lint.Ignore) > 0 {
		t.Errorf("%v, %v", f, err)
	}
	fsys := fstest.MapFS{"schemas/catalog.yaml": {Data: []byte(`# why, in a comment
lint:
  ignore:
    - UUID_AS_STRING
    - {rule: FIELD_WITHOUT_DOC, path: "Order*.note"}
    - rule: TYPE_UNUSED
      path: shop.Address
`)}}
	f, err := Read(fsys, "schemas")
	at := func(line int) schemas.Pos { return schemas.Pos{File: "schemas/catalog.yaml", Line: line, Col: 7} }
	want := []Ignore{{"UUID_AS_STRING", "", at(4)}, {"FIELD_WITHOUT_DOC", "Order*.note", at(5)}, {"TYPE_UNUSED", "shop.Address", at(6)}}
	if err != nil || !reflect.DeepEqual(f.Lint.Ignore, want) {
		t.Errorf("%+v, %v", f.Lint.Ignore, err)
	}
	if _, err := Read(fstest.MapFS{"catalog.yaml": {Mode: 0o755 | 1<<31}}, "."); !errors.Is(err, ErrUnreadable) {
		t.Errorf("a folder: %v", err)
	}
}

func TestStrict(t *testing.T) {
	for _, tc := range []struct {
		text string
		code *fault.Code
		want string // place and message, and after it the remedy
	}{
		{"", nil, ""},
		{"# nothing yet\n", nil, ""},
		{"lint:\n", nil, ""},
		{"lint: {ignore: }\n", nil, ""},
		{"lnit: {}\n", ErrUnknownKey, `f:1:1: CATALOG_FILE_UNKNOWN_KEY "lnit" is not a key|Did you mean lint?`},
		{"evnets: {}\n", ErrUnknownKey, `f:1:1: CATALOG_FILE_UNKNOWN_KEY "evnets" is not a key|Did you mean events?`},
		{"lint:\n  ignroe: []\n", ErrUnknownKey, `f:2:3: CATALOG_FILE_UNKNOWN_KEY "lint.ignroe" is not a key|Did you mean ignore?`},
		{"lint: {ignore: [{rule: A, pth: B}]}\n", ErrUnknownKey, `f:1:27: CATALOG_FILE_UNKNOWN_KEY "lint.ignore: pth" is not a key|Did you mean path?`},
		{"- lint\n", ErrType, `f:1:1: CATALOG_FILE_TYPE want a mapping of sections, found a list|`},
		{"lint: [a]\n", ErrType, `f:1:7: CATALOG_FILE_TYPE lint: want a mapping with ignore, found a list|`},
		{"lint: {ignore: A}\n", ErrType, `f:1:16: CATALOG_FILE_TYPE lint.ignore: want a list of rules, found text|`},
		{"lint: {ignore: [7]}\n", ErrType, `f:1:17: CATALOG_FILE_TYPE lint.ignore: want a rule, or a mapping of rule and path, found a whole number|`},
		{"lint: {ignore: [{path: A}]}\n", ErrType, `f:1:17: CATALOG_FILE_TYPE lint.ignore: the rule is missing|Write {rule: RULE`},
		{"lint: {ignore: [{rule: [A]}]}\n", ErrType, `f:1:18: CATALOG_FILE_TYPE lint.ignore: rule: want the id of a rule, found a list|`},
		{"lint: {ignore: [{rule: A, path: '[a'}]}\n", ErrValue, `f:1:33: CATALOG_FILE_VALUE lint.ignore: path: "[a" is no glob|`},
		{"lint: {ignore: [&a x, *a]}\n", ErrType, `f:1:17: CATALOG_FILE_TYPE lint.ignore: want a rule, or a mapping of rule and path, found an anchor or alias|`},
		{"lint: {7: x}\n", ErrSyntax, `f:1:8: CATALOG_FILE_SYNTAX a key must be a name followed by a value|`},
		{"lint: [\n", ErrSyntax, `f:1:7: CATALOG_FILE_SYNTAX `},
		{"a: b\n---\nc: d\n", ErrSyntax, `f:3:1: CATALOG_FILE_SYNTAX a second document|`},
	} {
		_, err := Parse("f", []byte(tc.text))
		if tc.code == nil {
			if err != nil {
				t.Errorf("%q: %v", tc.text, err)
			}
			continue
		}
		e := fault.Find(err)
		if !errors.Is(err, tc.code) || e == nil || !strings.HasPrefix(e.Error()+"|"+e.WhatToDo(), tc.want) {
			t.Errorf("%q: %v|%s\nwant %s", tc.text, err, e.WhatToDo(), tc.want)
		}
	}
}

// All mistakes are told, and what is right is read.
func TestAllMistakes(t *testing.T) {
	f, err := Parse("f", []byte("lint:\n  ignore: [A, 7, {rule: B}]\n  x: 1\ny: 2\n"))
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 3 || len(f.Lint.Ignore) != 2 {
		t.Errorf("%v, %+v", err, f)
	}
}

// FuzzParse: whatever the file holds, every complaint is a fault with a place.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"lint: {ignore: [A, {rule: B, path: c.*}]}", "lint:\n- ", "? a\n: b", "<<: *a", "{{{", "\xff\xfe", "lint: |\n x", "lint: &a [*a]", "- - -"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		_, err := Parse("f", src)
		if err == nil {
			return
		}
		for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
			if found := fault.Find(e); found == nil || !strings.HasPrefix(found.Where, "f") {
				t.Errorf("no code, or no place: %v", e)
			}
		}
	})
}
