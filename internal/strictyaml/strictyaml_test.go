package strictyaml

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct{ text, place, message string }{
		{"a: b\n", "", ""},
		{"", "", ""},
		{"# nothing\n", "", ""},
		{"a: b\n---\nc: d\n", "f:3:1", "a second document"},
		{"a: [", "f:1:4", ""},
		{strings.Repeat("[", 65), "f", "nested deeper than 64 levels"},
		{strings.Repeat(" ", MaxFile+1), "f", "1048577 bytes are more than 1048576"},
	} {
		_, err := Parse([]byte(tc.text))
		if (err == nil) != (tc.place == "") {
			t.Errorf("%.20q: %v", tc.text, err)
			continue
		}
		if err != nil && (err.Place.In("f") != tc.place || tc.message != "" && err.Error() != tc.message) {
			t.Errorf("%.20q: %s: %s", tc.text, err.Place.In("f"), err)
		}
	}
}

// Every node has its place, and says what it is.
func TestNodes(t *testing.T) {
	root, err := Parse([]byte("a: text\nb: 7\nc: [1.5, true]\nd: {e: ~}\n1: x\n"))
	if err != nil {
		t.Fatal(err)
	}
	entries, ok := Entries(root)
	if !ok || len(entries) != 5 {
		t.Fatalf("%v, %v", entries, ok)
	}
	want := []struct {
		key, place, found string
		kind              Kind
	}{
		{"a", "f:1:4", "text", Text}, {"b", "f:2:4", "a whole number", Int}, {"c", "f:3:4", "a list", Other},
		{"d", "f:4:4", "a mapping", Other}, {"", "f:5:4", "text", Text},
	}
	for i, e := range entries {
		key, _ := Key(e)
		if _, kind, found := Scalar(e.Value); key != want[i].key || kind != want[i].kind || found != want[i].found {
			t.Errorf("entry %d: %q, %v, %s", i, key, kind, found)
		}
		if at := PlaceOf(e.Value).In("f"); at != want[i].place {
			t.Errorf("entry %d: %s, want %s", i, at, want[i].place)
		}
	}
	if _, ok := Entries(entries[0].Value); ok {
		t.Error("a text has no entries")
	}
}
