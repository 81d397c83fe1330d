package schemas

import (
	"slices"
	"testing"
)

func eventNamed(t *testing.T, name, fields string) *EventType {
	t.Helper()
	e, err := ParseEventType(`{"type":"record","name":"` + name + `","aggregate":"a","fields":[` + fields + `]}`)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func composed(t *testing.T, events []*EventType, previous *TopicSchema, retire ...string) *TopicSchema {
	t.Helper()
	c, err := Compose("a", events, previous, retire...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An event that is taken out keeps its branch and is marked, until it comes back.
func TestRetired(t *testing.T) {
	a, b := eventNamed(t, "A", ""), eventNamed(t, "B", "")
	both := composed(t, []*EventType{a, b}, nil)
	if len(both.Retired()) != 0 {
		t.Errorf("%v retired at first", both.Retired())
	}
	one := composed(t, []*EventType{a}, both, "B", "A", "C")
	if !slices.Equal(one.Retired(), []string{"B"}) || len(one.Events()) != 2 || one.Equal(both) {
		t.Errorf("%v retired of %v, equal: %t", one.Retired(), one.Events(), one.Equal(both))
	}
	changed := composed(t, []*EventType{eventNamed(t, "A", `{"name":"n","type":"int","default":0}`)}, one)
	if !slices.Equal(changed.Retired(), []string{"B"}) {
		t.Errorf("%v retired after another change", changed.Retired())
	}
	if back := composed(t, []*EventType{a, b}, one); len(back.Retired()) != 0 || !back.Equal(both) {
		t.Errorf("%v retired once it is back", back.Retired())
	}
}

// What was registered before becomes the newest by a revision: to the registry it is
// another schema, and to everybody else the same one.
func TestRevised(t *testing.T) {
	first := composed(t, []*EventType{eventNamed(t, "A", "")}, nil)
	again, err := first.Revised(2)
	if err != nil {
		t.Fatal(err)
	}
	other, err := first.Revised(3)
	if err != nil {
		t.Fatal(err)
	}
	if again.Equal(first) || again.Equal(other) || again.Version != -1 {
		t.Errorf("equal to the first: %t, to another revision: %t, version %d", again.Equal(first), again.Equal(other), again.Version)
	}
	if a, b := first.Events()[0], again.Events()[0]; a != b {
		t.Errorf("%v became %v", a, b)
	}
	if _, err := again.Revised(4); err == nil {
		t.Error("a revision of a revision")
	}
}
