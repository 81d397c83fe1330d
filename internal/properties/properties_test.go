package properties

import (
	"maps"
	"slices"
	"testing"
)

func TestList(t *testing.T) {
	m := map[string]string{"b": "2", "a": "1", "c": ""}
	l := FromMap(m)
	if want := (List{{"a", "1"}, {"b", "2"}, {"c", ""}}); !slices.Equal(l, want) {
		t.Errorf("FromMap: %v, want %v", l, want)
	}
	if !maps.Equal(l.Map(), m) {
		t.Errorf("Map: %v, want %v", l.Map(), m)
	}
	if l.Get("b") != "2" || l.Get("none") != "" {
		t.Errorf("Get: %q and %q", l.Get("b"), l.Get("none"))
	}
	if FromMap(nil) != nil {
		t.Error("FromMap of nothing is not nil")
	}
}
