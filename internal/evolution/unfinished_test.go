package evolution

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// An apply that was cut off is known until it, or a plan that was made after it, is
// carried out.
func TestUnfinished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := func(when string, hashes ...string) []Begun {
		t.Helper()
		all, err := Unfinished(t.Context(), w.db)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range all {
			got = append(got, b.Hash)
		}
		if !slices.Equal(got, hashes) {
			t.Fatalf("%s: %q, want %q", when, got, hashes)
		}
		return all
	}
	want("nothing was begun")
	one, two := catalog(t, record("A", id)), catalog(t, record("A", id), record("B", id))
	p := w.plan(one)
	first := p.Hash()
	if err := w.apply(one, first, 1); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	all := want("the first was cut off", first)
	if b := all[0]; b.Steps != len(p.Steps) || b.By != w.pg.Role("daemon") || time.Since(b.At).Abs() > time.Hour {
		t.Errorf("%+v", b)
	}
	second := w.plan(two).Hash()
	if err := w.apply(two, second, 1); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	want("both were cut off", second, first)
	if err := w.apply(two, second, -1); err != nil {
		t.Fatal(err)
	}
	want("the second was carried out")
}
