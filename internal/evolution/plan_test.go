package evolution

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/readerinfo"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

var target = Target{Namespace: "public/runnel", Partitions: 4, TopicOf: byAggregate}

// registered is the state after each catalog was applied in turn: one topic, order.
func registered(t testing.TB, catalogs ...*schemas.Catalog) *State {
	t.Helper()
	s := &State{Target: target, Asked: true}
	topic := Topic{Name: "order", Full: "persistent://public/runnel/order", Exists: true, Partitions: 4}
	for _, c := range catalogs {
		s.Topics = []Topic{topic}
		p := plan(t, c, s, Settings{Level: None})
		for _, step := range p.Steps {
			switch step.Kind {
			case Register:
				v, err := schemas.ParseTopicSchema(step.Schema, step.Version)
				if err != nil {
					t.Fatal(err)
				}
				topic.Versions, topic.next = append(topic.Versions, v), step.Version+1
			case RegisterTypes:
				for _, row := range step.Types {
					e, _ := c.Event(row.Name)
					s.Types = append(s.Types, outbox.RegisteredType{Name: e.Name, AggregateType: e.AggregateType, Fingerprint: e.Fingerprint})
				}
			case WithdrawTypes:
				s.Types = slices.DeleteFunc(s.Types, func(r outbox.RegisteredType) bool {
					return slices.ContainsFunc(step.Types, func(row Type) bool { return row.Name == r.Name })
				})
			}
		}
	}
	s.Topics = []Topic{topic}
	return s
}

func plan(t testing.TB, c *schemas.Catalog, s *State, settings Settings) *Plan {
	t.Helper()
	p, err := Make(c, s, settings, Whole, today)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// steps lists a plan's steps, a line each.
func steps(p *Plan) []string {
	all := []string{}
	for _, s := range p.Steps {
		line := string(s.Kind) + " " + s.Policy + s.Object[strings.LastIndexByte(s.Object, '/')+1:] + ": " + s.From + " -> " + s.To
		if s.Kind != SetPolicy && s.Kind != CreateTopic {
			line += " [" + strings.Join(s.Changes, "; ") + "]"
		}
		all = append(all, line)
	}
	return all
}

func require(t *testing.T, p *Plan, want ...string) {
	t.Helper()
	got := steps(p)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || !strings.HasPrefix(got[i], want[i]) {
			t.Fatalf("steps\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func TestPlanFromNothing(t *testing.T) {
	s := &State{Target: target, Asked: true, Deviations: []broker.Deviation{{Policy: "namespace", Have: "missing", Want: "present"}},
		Topics: []Topic{{Name: "order", Full: "persistent://public/runnel/order"}}}
	p := plan(t, catalog(t, record("B", id), record("A", id)), s, Settings{})
	got := steps(p)
	if !strings.HasPrefix(got[0], "policy.set namespacerunnel: missing -> present") || len(got) < 8 {
		t.Fatalf("steps %q", got)
	}
	p.Steps = slices.DeleteFunc(p.Steps, func(s Step) bool { return s.Kind == SetPolicy })
	require(t, p, "topic.create order: missing -> 4 partitions", "schema.register order: no schema -> version 0 [+ A; + B]",
		"types.register runnel.event_type: absent -> present [A of order")
	if len(p.Findings) != 0 || p.Hash() == "" {
		t.Errorf("%q, hash %q", told(p.Findings), p.Hash())
	}
}

func TestPlanOfAChange(t *testing.T) {
	first := catalog(t, record("A", id), record("B", id))
	s := registered(t, first)
	if p := plan(t, first, s, Settings{}); len(p.Steps) != 0 || p.Hash() != "" {
		t.Errorf("nothing changed, and the plan is %q", steps(p))
	}
	second := catalog(t, record("A", id+","+coupon), record("B", id, `"deprecated":"use A"`), record("C", id))
	p := plan(t, second, s, Settings{})
	require(t, p, "schema.register order: version 0 -> version 1 [~ A; ~ B (deprecated: use A); + C]", "types.register")
	if len(p.Blocked()) != 0 {
		t.Errorf("blocked by %q", told(p.Findings))
	}
	if again := plan(t, second, s, Settings{}); again.Hash() != p.Hash() {
		t.Error("the same plan has another hash")
	}
	if other := plan(t, catalog(t, record("A", id+","+noteOr), record("B", id)), s, Settings{}); other.Hash() == p.Hash() {
		t.Error("another plan has the same hash")
	}

	// What is deprecated can be taken out, and comes back as a version of its own.
	s = registered(t, first, second)
	third := catalog(t, record("A", id+","+coupon), record("C", id))
	require(t, plan(t, third, s, Settings{}), "schema.register order: version 1 -> version 2 [- B (retired: its branch stays, for what was published) (deprecated: use A)]",
		"types.withdraw runnel.event_type: present -> absent")
	s = registered(t, first, second, third)
	require(t, plan(t, third, s, Settings{}))
	require(t, plan(t, second, s, Settings{}), "schema.register order: version 2 -> version 3 [+ B (was retired) (deprecated: use A); equal to version 1", "types.register")
}

// What goes back to a former version becomes the newest of the registry.
func TestPlanBack(t *testing.T) {
	first, second := catalog(t, record("A", id)), catalog(t, record("A", id+","+coupon))
	s := registered(t, first, second)
	p := plan(t, first, s, Settings{})
	require(t, p, "schema.register order: version 1 -> version 2 [~ A; equal to version 0")
	s = registered(t, first, second, first)
	require(t, plan(t, first, s, Settings{}))
	// With additions only, a version that is held is enough: it is neither registered
	// nor judged again.
	strict := catalog(t, record("A", id+","+note))
	for _, c := range []*schemas.Catalog{second, strict} {
		s := registered(t, first, strict, second, first)
		if p, err := Make(c, s, Settings{}, Additions, today); err != nil || len(p.Steps) != 0 || len(p.Findings) != 0 {
			t.Errorf("%v, %q, %v", steps(p), told(p.Findings), err)
		}
	}
}

func TestPlanRefusesRemoval(t *testing.T) {
	first := catalog(t, record("A", id), record("B", id))
	s := registered(t, first)
	less := catalog(t, record("A", id))
	p := plan(t, less, s, Settings{})
	if got := told(p.Blocked()); !slices.Equal(got, []string{" EVENT_REMOVED $ 0"}) {
		t.Errorf("blocked by %q", got)
	}
	if p, err := Make(less, s, Settings{}, Additions, today); err != nil || len(p.Blocked()) != 0 || len(p.Steps) != 0 {
		t.Errorf("additions: %q, %v", told(p.Findings), err)
	}
}

// reader is a subscription of the topic with consumers that read versions of E, or do
// not tell, for a nil one.
func reader(name string, backlog int64, versions ...*schemas.EventType) broker.Subscription {
	s := broker.Subscription{Name: name, Backlog: backlog}
	for _, e := range versions {
		c := broker.SubscriptionConsumer{Name: name}
		if e != nil {
			c.Properties = readerinfo.Info{Name: name, Version: 1, Reads: map[string]schemas.Fingerprint{e.Name: e.Fingerprint}}.Properties()
		}
		s.Consumers = append(s.Consumers, c)
	}
	return s
}

// without makes it one of Pulsar's readers, which have no subscription.
func without(s broker.Subscription) broker.Subscription {
	s.Readers = true
	return s
}

// TestReadersOfOurs: the readers of Runnel's own are nobody whom a change concerns.
func TestReadersOfOurs(t *testing.T) {
	e, _ := catalog(t, record("E", id)).Event("E")
	tail := broker.SubscriptionConsumer{Properties: readerinfo.Info{Name: "runnel", Reads: map[string]schemas.Fingerprint{}}.Properties()}
	both := without(reader("reader", 0, nil, e))
	got := readers("order", []broker.Subscription{without(broker.Subscription{Name: "reader", Consumers: []broker.SubscriptionConsumer{tail}}), both})
	if len(got) != 1 || got[0].Connected != 1 || got[0].Reads != nil || len(both.Consumers) != 2 {
		t.Errorf("%+v, want the one who does not tell", got)
	}
}

func TestReaders(t *testing.T) {
	first, second := catalog(t, record("E", id+","+note)), catalog(t, record("E", id))
	was, _ := first.Event("E")
	now, _ := second.Event("E")
	other, _ := catalog(t, record("Other", id)).Event("Other")
	unknown, _ := catalog(t, record("E", amount)).Event("E")
	for name, tc := range map[string]struct {
		of     broker.Subscription
		named  bool // with a strict level, as one who would break
		blocks bool // with a level that lets the change through
	}{
		"built with the old version":        {reader("billing", 0, was), true, true},
		"in the middle of its release":      {reader("billing", 0, was, now), true, true},
		"built with the new one":            {reader("billing", 7, now), false, false},
		"that does not handle the event":    {reader("billing", 7, other), false, false},
		"built with a version nobody knows": {reader("billing", 0, unknown), true, true},
		"that does not tell":                {reader("billing", 0, nil), true, true},
		"of whom one does not tell":         {reader("billing", 0, now, nil), true, true},
		"that is not connected":             {reader("billing", 3), true, true},
		"that has no subscription":          {without(reader("billing", 0, nil)), true, true},
	} {
		s := registered(t, first)
		s.Topics[0].Readers = readers("order", []broker.Subscription{tc.of})
		p := plan(t, second, s, Settings{})
		if blocked := p.Blocked(); len(blocked) != 1 || (len(blocked[0].Readers) == 1) != tc.named {
			t.Errorf("%s: %q, readers %v", name, told(blocked), blocked[0].Readers)
		}
		if len(p.Affected) != 1 || p.Affected[0].Subscription != "billing" {
			t.Errorf("%s: affected %v", name, p.Affected)
		}
		p = plan(t, second, s, Settings{Level: Backward})
		if blocked := p.Blocked(); (len(blocked) > 0) != tc.blocks {
			t.Errorf("%s, with a weaker level: %q", name, told(p.Findings))
		} else if tc.blocks && (blocked[0].Rule != ReaderLeft || !strings.Contains(blocked[0].Message, "billing")) {
			t.Errorf("%s, with a weaker level: %s %s", name, blocked[0].Rule.ID, blocked[0].Message)
		}
		waived := Settings{Level: Backward, Waive: []Waiver{{Event: "E", Rule: ReaderLeft.ID, Consumer: "billing", Expires: today.AddDate(0, 0, 1)}}}
		if p := plan(t, second, s, waived); len(p.Blocked()) > 0 {
			t.Errorf("%s, waived: %q", name, told(p.Findings))
		}
	}
}

func TestStillNeeded(t *testing.T) {
	first := catalog(t, record("A", id), record("E", id, `"deprecated":true`))
	less := catalog(t, record("A", id))
	e, _ := first.Event("E")
	a, _ := first.Event("A")
	for name, tc := range map[string]struct {
		of   broker.Subscription
		want bool
	}{
		"handled":                            {reader("billing", 0, e), true},
		"not handled, with a backlog":        {reader("billing", 9, a), false},
		"not connected, with a backlog":      {reader("billing", 9), true},
		"not connected, and read to the end": {reader("billing", 0), false},
		"not told":                           {reader("billing", 0, nil), true},
	} {
		s := registered(t, first)
		s.Topics[0].Readers = readers("order", []broker.Subscription{tc.of})
		blocked := plan(t, less, s, Settings{}).Blocked()
		if (len(blocked) == 1 && blocked[0].Rule == EventNeeded && strings.Contains(blocked[0].Message, "billing")) != tc.want {
			t.Errorf("%s: %q", name, told(blocked))
		}
	}
}

// A type that writers may publish and that no topic here holds is another pipeline's.
func TestPlanLeavesOthersTypes(t *testing.T) {
	first := catalog(t, record("A", id), record("B", id, `"deprecated":true`))
	s := registered(t, first)
	other, _ := catalog(t, record("Other", id)).Event("Other")
	s.Types = append(s.Types, outbox.RegisteredType{Name: "Other", AggregateType: "order", Fingerprint: other.Fingerprint})
	if p := plan(t, first, s, Settings{}); len(p.Steps) != 0 || len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "Other") {
		t.Errorf("%q, notes %q", steps(p), p.Notes)
	}
	// And one whose withdrawal was cut off after the registry is gone on with.
	less := catalog(t, record("A", id))
	p := plan(t, less, s, Settings{})
	v, err := schemas.ParseTopicSchema(p.Steps[0].Schema, p.Steps[0].Version)
	if err != nil {
		t.Fatal(err)
	}
	s.Topics[0].Versions = append(s.Topics[0].Versions, v)
	require(t, plan(t, less, s, Settings{}), "types.withdraw runnel.event_type: present -> absent [B of order")
}

func TestPlanOfOthersTopics(t *testing.T) {
	c := catalog(t, record("A", id))
	s := registered(t, c)
	s.Topics[0].Foreign = schemas.ErrNotATopicSchema.New("JSON")
	if _, err := Make(c, s, Settings{}, Whole, today); !errors.Is(err, schemas.ErrNotATopicSchema) {
		t.Errorf("somebody else's topic: %v", err)
	}
	s = &State{Target: target, Topics: []Topic{{Name: "order", Exists: true}}}
	if _, err := Make(c, s, Settings{}, Whole, today); !errors.Is(err, broker.ErrTopicMissing) {
		t.Errorf("a topic without partitions: %v", err)
	}
}

func TestDrift(t *testing.T) {
	first, second := catalog(t, record("A", id), record("B", id)), catalog(t, record("A", id+","+coupon), record("B", id))
	if d := Drift(first, registered(t, first)); len(d) != 0 {
		t.Errorf("what was applied differs: %+v", d)
	}
	objects := func(d []Difference) (all []string) {
		for _, x := range d {
			all = append(all, x.Object)
		}
		return all
	}
	ahead := Drift(first, registered(t, first, second))
	if got := objects(ahead); !slices.Equal(got, []string{"order: A"}) || !strings.Contains(ahead[0].Fix, "newer") {
		t.Errorf("the registry is ahead: %+v", ahead)
	}
	behind := Drift(catalog(t, record("A", id+","+coupon), record("C", id)), registered(t, first))
	if got := objects(behind); !slices.Equal(got, []string{"order: A", "order: C", "order: B", "runnel.event_type: A", "runnel.event_type: C", "runnel.event_type: B"}) {
		t.Errorf("the registry is behind: %q", got)
	}
	s := registered(t, first)
	s.Deviations = []broker.Deviation{{Policy: "schema auto-update", Have: "on", Want: "off"}}
	s.Topics[0].Foreign = errors.New("JSON\nstack")
	s.Topics = append(s.Topics, Topic{Name: "stray", Exists: true, Partitions: 1}, Topic{Name: "whole", Exists: true})
	if got := objects(Drift(first, s)); !slices.Equal(got, []string{"namespace public/runnel: schema auto-update", "topic order", "topic stray", "topic whole"}) {
		t.Errorf("topics: %q", got)
	}
}
