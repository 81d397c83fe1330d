package evolution

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/catalogfile"
)

// withEnum is a record E with an enum of the symbols, which has a default or not.
func withEnum(symbols string, more ...string) string {
	return record("E", `{"name":"kind","type":{"type":"enum","name":"Kind","symbols":[`+symbols+`]`+strings.Join(more, "")+`}}`)
}

// What was let through once lets no more through than that: a symbol that older readers
// do not know says nothing of the next one.
func TestKnownIsNoMoreThanWasKnown(t *testing.T) {
	s := registered(t, catalog(t, withEnum(`"A"`)), catalog(t, withEnum(`"A","B"`, `,"default":"A"`)))
	same := plan(t, catalog(t, strings.Replace(withEnum(`"A","B"`, `,"default":"A"`), `"fields"`, `"owner":"shop","fields"`, 1)), s, Settings{})
	if got := told(same.Findings); !slices.Equal(got, []string{"forward ENUM_SYMBOL_UNKNOWN $.kind 0 known"}) {
		t.Errorf("what was let through: %q", got)
	}
	more := plan(t, catalog(t, withEnum(`"A","B","C"`, `,"default":"A"`)), s, Settings{})
	if got := told(more.Blocked()); !slices.Equal(got, []string{"forward ENUM_SYMBOL_UNKNOWN $.kind 0"}) {
		t.Errorf("another symbol: %q", got)
	}
}

// With additions only, a catalog that is older than the registry changes nothing but
// what it has and no version holds.
func TestAdditionsOfAnOlderCatalog(t *testing.T) {
	first := catalog(t, record("A", id), record("R", id, `"deprecated":true`))
	s := registered(t, first, catalog(t, record("A", id+","+coupon)))
	p, err := Make(catalog(t, record("A", id), record("R", id, `"deprecated":true`), record("Z", id)), s, Settings{}, Additions, today)
	if err != nil || len(p.Blocked()) != 0 {
		t.Fatalf("%v, %q", err, told(p.Findings))
	}
	p.Steps = slices.DeleteFunc(p.Steps, func(s Step) bool { return s.Kind != Register })
	require(t, p, "schema.register order: version 1 -> version 2 [+ Z]")
}

// A type that events share is judged for those, too, that the catalog does not have.
func TestSharedTypeOfAnotherCatalog(t *testing.T) {
	money := func(event, of string) string {
		return record(event, `{"name":"m","type":{"type":"record","name":"Money","fields":[{"name":"v","type":"`+of+`"}]}}`)
	}
	s := registered(t, catalog(t, money("A", "int")))
	p, err := Make(catalog(t, money("B", "long")), s, Settings{}, Additions, today)
	if err != nil {
		t.Fatal(err)
	}
	if got := told(p.Blocked()); !slices.Equal(got, []string{"forward TYPE_MISMATCH $.m.v 0"}) || p.Blocked()[0].Event != "A" {
		t.Errorf("blocked by %q", got)
	}
}

// A waiver of a path is for that path alone.
func TestWaiversOfAPath(t *testing.T) {
	until := today.AddDate(0, 0, 1)
	zip := func(of string) string {
		return record("E", `{"name":"billing","type":{"type":"record","name":"Address","fields":[{"name":"zip","type":"`+of+`"}]}},{"name":"shipping","type":"Address"}`)
	}
	s := registered(t, catalog(t, zip("int")))
	one := Waiver{Event: "E", Rule: "TYPE_MISMATCH", Path: "$.billing.zip", Expires: until}
	other := one
	other.Path = "$.shipping.zip"
	if p := plan(t, catalog(t, zip("long")), s, Settings{Waive: []Waiver{one}}); len(p.Blocked()) != 1 {
		t.Errorf("one of two places: %q", told(p.Findings))
	}
	if p := plan(t, catalog(t, zip("long")), s, Settings{Waive: []Waiver{one, other}}); len(p.Blocked()) != 0 {
		t.Errorf("both places: %q", told(p.Findings))
	}

	// And so is one for a reader.
	was := catalog(t, record("E", id+","+note+","+amount))
	e, _ := was.Event("E")
	s = registered(t, was)
	s.Topics[0].Readers = readers("order", []broker.Subscription{reader("billing", 0, e)})
	spoken := Waiver{Event: "E", Rule: ReaderLeft.ID, Path: "$.note", Consumer: "billing", Expires: until}
	p := plan(t, catalog(t, record("E", id)), s, Settings{Level: Backward, Waive: []Waiver{spoken}})
	if blocked := p.Blocked(); len(blocked) != 1 || blocked[0].Path != "$.amount" {
		t.Errorf("another path of the reader: %q", told(p.Findings))
	}
}

// A finding that is waived for all still names who is connected and would break.
func TestWaivedForAllButWhoIsConnected(t *testing.T) {
	was := catalog(t, record("E", id+","+note))
	e, _ := was.Event("E")
	s := registered(t, was)
	s.Topics[0].Readers = readers("order", []broker.Subscription{reader("billing", 0, e)})
	settings := Settings{Waive: []Waiver{{Event: "E", Rule: "FIELD_WITHOUT_DEFAULT", Expires: today.AddDate(0, 0, 1)}}}
	if blocked := plan(t, catalog(t, record("E", id)), s, settings).Blocked(); len(blocked) != 1 || blocked[0].Rule != ReaderLeft {
		t.Errorf("blocked by %q", told(blocked))
	}
}

func TestSettingsOf(t *testing.T) {
	c := catalog(t, record("E", id))
	for text, want := range map[string]string{
		"compatibility: FULL_TRANSITIV": "did you mean FULL_TRANSITIVE?",
		"events: {F: {owner: x}}":       `no event "F"`,
		"waivers: [{event: E, rule: NO_RULE, reason: r, owner: o, expires: 2027-01-31}]":                                  `no rule "NO_RULE"`,
		"waivers: [{event: E, rule: FIELD_WITHOUT_DEFAULT, consumer: billing, reason: r, owner: o, expires: 2027-01-31}]": "it has no consumer",
	} {
		f, err := catalogfile.Parse("catalog.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := SettingsOf(f, c); !errors.Is(err, catalogfile.ErrValue) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	f, err := catalogfile.Parse("catalog.yaml", []byte("compatibility: NONE\ntopics: {order: {compatibility: FULL}}\nevents: {E: {compatibility: FORWARD}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if s, err := SettingsOf(f, c); err != nil || s.LevelOf("order", "E") != Forward || s.LevelOf("order", "F") != Full || s.LevelOf("other", "F") != None {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestNoEventIsNoCatalog(t *testing.T) {
	s := registered(t, catalog(t, record("E", id, `"deprecated":true`)))
	empty := catalog(t, `{"type":"record","name":"Part","fields":[]}`)
	if _, err := Make(empty, s, Settings{}, Whole, today); !errors.Is(err, ErrRefused) {
		t.Errorf("%v", err)
	}
}

// A retired event that the catalog has again is a difference, though nothing of it is.
func TestDriftOfRetired(t *testing.T) {
	first := catalog(t, record("A", id), record("B", id, `"deprecated":true`))
	s := registered(t, first, catalog(t, record("A", id)))
	d := Drift(first, s)
	if len(d) == 0 || d[0].Object != "order: B" || !strings.Contains(d[0].Live, "retired") {
		t.Errorf("%+v", d)
	}
	if len(plan(t, first, s, Settings{}).Steps) == 0 {
		t.Error("a difference, and no step")
	}
}
