package evolution

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/catalogfile"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
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

// What the settings name and there is not, or is over, is said.
func TestIdleSettings(t *testing.T) {
	s := registered(t, catalog(t, record("E", id), record("Old", id, `"deprecated":true`)))
	c := catalog(t, record("E", id))
	until := today.AddDate(0, 0, 1)
	f, err := catalogfile.Parse("catalog.yaml", []byte("topics: {order: {owner: a}, ordr: {owner: b}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	settings, err := SettingsOf(f, c)
	if err != nil {
		t.Fatal(err)
	}
	settings.Waive = []Waiver{
		{Event: "E", Rule: "TYPE_MISMATCH", Expires: until},   // lets nothing pass now, and may be needed elsewhere
		{Event: "Old", Rule: "EVENT_REMOVED", Expires: until}, // is taken out just now
		{Event: "E", Rule: "TYPE_MISMATCH", Expires: today},
		{Event: "Ee", Rule: "TYPE_MISMATCH", Expires: until},
	}
	p := plan(t, c, s, settings)
	var got []string
	for _, f := range p.Findings {
		got = append(got, f.Rule.ID+" "+f.What()+"; "+f.Place().String()+" "+f.WhatToDo())
	}
	want := []string{
		"NAME_UNKNOWN ordr: no event goes to a topic of this name; catalog.yaml:1:29 Did you mean order?",
		"WAIVER_EXPIRED E: the waiver of TYPE_MISMATCH expired on 2026-11-22;  Take it out",
		"NAME_UNKNOWN Ee: the waiver of TYPE_MISMATCH is of an event that there is not;  Did you mean E?",
	}
	if len(got) != len(want) || len(p.Blocked()) != 0 {
		t.Fatalf("%q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("%s\nwant %s", got[i], want[i])
		}
	}
}

// An event that is routed elsewhere is taken out where it was, once nobody reads it there.
func TestRerouted(t *testing.T) {
	c := catalog(t, record("A", id), record("B", id))
	b, _ := c.Event("B")
	s := registered(t, c)
	s.Target.TopicOf = func(aggregate, event string) string {
		if event == "B" {
			return "special"
		}
		return aggregate
	}
	s.Topics = append(s.Topics, Topic{Name: "special", Full: "persistent://public/runnel/special", Exists: true, Partitions: 4})
	moved := []string{"schema.register order: version 0 -> version 1 [- B (retired", "schema.register special: no schema -> version 0 [+ B]"}
	p := plan(t, c, s, Settings{})
	require(t, p, moved...)
	if d := Drift(c, s); len(d) != 2 || d[0].Object != "order: B" || d[0].Catalog != "goes to the topic special" || d[1].Object != "special: B" {
		t.Errorf("drift %+v", d)
	}
	if got := told(p.Findings); !slices.Equal(got, []string{" EVENT_TOPIC_CHANGED $ 0 of topic order"}) || len(p.Blocked()) != 0 {
		t.Errorf("found %q", got)
	}

	s.Topics[0].Readers = readers("order", []broker.Subscription{reader("billing", 0, b)})
	blocked := plan(t, c, s, Settings{}).Blocked()
	if len(blocked) != 1 || blocked[0].Rule != EventNeeded || !strings.Contains(blocked[0].Message, "goes to the topic special from now on, and billing") {
		t.Fatalf("blocked by %q", told(blocked))
	}
	spoken := Waiver{Event: "B", Rule: EventNeeded.ID, Consumer: "billing", Expires: today.AddDate(0, 0, 1)}
	if blocked := plan(t, c, s, Settings{Waive: []Waiver{spoken}}).Blocked(); len(blocked) != 0 {
		t.Errorf("waived, and blocked by %q", told(blocked))
	}

	// Applied, nothing is left to do; and the way back is another move.
	for i, step := range p.Steps {
		v, err := schemas.ParseTopicSchema(step.Schema, step.Version)
		if err != nil {
			t.Fatal(err)
		}
		s.Topics[i].Versions, s.Topics[i].next = append(s.Topics[i].Versions, v), step.Version+1
	}
	if p := plan(t, c, s, Settings{}); len(p.Steps) != 0 || len(p.Findings) != 0 || len(Drift(c, s)) != 0 {
		t.Errorf("again: %q, %q, %+v", steps(p), told(p.Findings), Drift(c, s))
	}
	s.Target.TopicOf = byAggregate
	s.Topics[0].Readers = nil
	back := plan(t, c, s, Settings{})
	require(t, back, "schema.register order: version 1 -> version 2 [+ B (was retired); equal to version 0", "schema.register special: version 0 -> version 1 [- B (retired")
	if got := told(back.Findings); len(got) != 1 || !strings.HasPrefix(got[0], " EVENT_TOPIC_CHANGED") {
		t.Errorf("back: %q", got)
	}
}

// Writers that publish an event for an aggregate that it no longer belongs to are shown.
func TestDriftOfAnotherAggregate(t *testing.T) {
	c := catalog(t, record("A", id))
	s := registered(t, c)
	old := s.Types[0]
	old.AggregateType, old.Fingerprint[0] = "basket", old.Fingerprint[0]+1
	s.Types = append(s.Types, old)
	d := Drift(c, s)
	if len(d) != 1 || d[0].Live != "writers may publish it for basket" || !strings.Contains(d[0].Fix, "delete from runnel.event_type where name = 'A' and aggregate_type = 'basket'") {
		t.Errorf("%+v", d)
	}
}

// The way out that a finding names is one that there is at the event's level.
func TestRemediesKnowTheLevel(t *testing.T) {
	was := catalog(t, record("E", id+","+note))
	h := FromCatalog("main", was)
	for level, want := range map[Level]string{FullTransitive: "BACKWARD_TRANSITIVE", Full: "BACKWARD", ForwardTransitive: "NONE", Forward: "NONE"} {
		found := Judge(catalog(t, record("E", id)), h, topicOf, Settings{Level: level}, today)
		if len(found) != 1 || !strings.Contains(found[0].WhatToDo(), "the level "+want+" in catalog.yaml") {
			t.Errorf("%s: %q %s", level, told(found), found[0].WhatToDo())
		}
		found = Judge(catalog(t, record("E", id+","+remarkOr)), FromCatalog("main", catalog(t, record("E", id+","+noteOr))), topicOf, Settings{Level: level}, today)
		if len(found) != 1 || !strings.Contains(found[0].WhatToDo(), "the level "+want+" in catalog.yaml") {
			t.Errorf("%s: %q", level, told(found))
		}
	}
	// What new consumers cannot read either, no level short of NONE lets through.
	for level, want := range map[Level]string{FullTransitive: "", Forward: "the level NONE"} {
		found := Judge(catalog(t, record("E", id+`,{"name":"amount","type":"string"}`)), FromCatalog("main", catalog(t, record("E", id+","+amount))), topicOf, Settings{Level: level}, today)
		for _, f := range found {
			if f.Direction == ForwardDirection && strings.Contains(f.WhatToDo(), "the level") != (want != "") {
				t.Errorf("%s: %s", level, f.WhatToDo())
			}
		}
	}
}

// A waiver that misses the finding says so.
func TestWaiverThatMisses(t *testing.T) {
	was := catalog(t, record("E", id+","+note))
	e, _ := was.Event("E")
	s := registered(t, was)
	s.Topics[0].Readers = readers("order", []broker.Subscription{reader("billing", 0, e)})
	until := today.AddDate(0, 0, 1)
	settings := Settings{Level: Backward, Waive: []Waiver{{Event: "E", Rule: ReaderLeft.ID, Consumer: "biling", Expires: until}}}
	p := plan(t, catalog(t, record("E", id)), s, settings)
	last := p.Findings[len(p.Findings)-1]
	if last.Rule != WaiverMisses || !strings.Contains(last.Message, "a finding is at $.note, of billing") || len(p.Blocked()) != 1 {
		t.Errorf("%q: %s", told(p.Findings), last.Message)
	}
	if m := p.Blocked()[0].Message; !strings.Contains(m, "billing (1 connected, backlog 0) reads it with version 0: ") {
		t.Error(m)
	}
}

// A topic that was there once is not made anew without a word.
func TestDeletedTopicIsNamed(t *testing.T) {
	c := catalog(t, record("A", id))
	s := registered(t, c)
	full := s.Topics[0].Full
	s.Topics[0] = Topic{Name: s.Topics[0].Name, Full: full}
	for published, want := range map[int]bool{0: false, 4: true} {
		s.Published = map[string]int{full: published}
		p, err := Make(c, s, Settings{}, Whole, today)
		if err != nil {
			t.Fatal(err)
		}
		if told := strings.Contains(strings.Join(p.Notes, "\n"), full+" is gone though"); told != want {
			t.Errorf("published to %d partitions: %q", published, p.Notes)
		}
	}
}

// What others have done to a topic is found.
func TestDriftOfOthers(t *testing.T) {
	first, second := catalog(t, record("A", id)), catalog(t, record("A", id+","+coupon))
	s := registered(t, first, second)
	s.Published = map[string]int{s.Topics[0].Full: 4}
	if d := Drift(second, s); len(d) != 0 {
		t.Fatalf("%+v", d)
	}
	s.Topics[0].Partitions = 6
	s.Topics[0].Versions = s.Topics[0].Versions[1:]
	s.Topics[0].Others = []schemas.OtherVersion{{Version: 7, Err: schemas.ErrNotATopicSchema.New("STRING")}}
	s.Types = append(s.Types, outbox.RegisteredType{Name: "A", AggregateType: "order"})
	var got []string
	for _, d := range Drift(second, s) {
		got = append(got, d.Object+": "+d.Catalog+" / "+d.Live)
	}
	want := []string{
		"topic order: 4 partitions, as it was published to / 6 partitions",
		"topic order: schema version 7: absent / SCHEMA_NOT_A_TOPIC STRING",
		"topic order: schema versions below 1: there / deleted",
		"runnel.event_type: A: absent / writers may publish it as " + s.Types[0].Fingerprint.String()[:12] + ", which no topic's schema holds",
		"runnel.event_type: A: absent / writers may publish it as 000000000000, which no topic's schema holds",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	p := plan(t, first, registered(t, first, second), Settings{})
	if len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "A goes back to what it was in version 0") {
		t.Errorf("notes %q", p.Notes)
	}
}

func TestNumbers(t *testing.T) {
	for want, in := range map[string][]int64{"version 3": {3}, "versions 0, 1": {0, 1}, "versions 0 to 2": {0, 1, 2}, "versions 0 to 2, 4, 6, 7": {0, 1, 2, 4, 6, 7}} {
		if got := numbers(in); got != want {
			t.Errorf("%v: %s, want %s", in, got, want)
		}
	}
}

func TestRulesAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/schemas.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range Rules {
		if !strings.Contains(string(doc), "`"+r.ID+"`") {
			t.Errorf("docs/schemas.md has no word of %s", r.ID)
		}
	}
}
