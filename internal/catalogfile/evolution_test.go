package catalogfile

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestEvolution(t *testing.T) {
	f, err := Parse("catalog.yaml", []byte(`compatibility: BACKWARD
topics:
  order: {compatibility: FULL, owner: orders}
events:
  OrderPlaced:
    owner: orders
    tags: [pii, money]
waivers:
  - event: OrderPlaced
    rule: FIELD_WITHOUT_DEFAULT
    path: $.note
    consumer: billing
    reason: nobody reads it
    owner: orders
    expires: 2027-01-31
`))
	if err != nil {
		t.Fatal(err)
	}
	if f.Compatibility.Name != "BACKWARD" || f.Compatibility.Pos.String() != "catalog.yaml:1:16" {
		t.Errorf("level %+v", f.Compatibility)
	}
	if o := f.Topics["order"]; o.Compatibility.Name != "FULL" || o.Owner != "orders" || o.Pos.Line != 3 {
		t.Errorf("topic %+v", o)
	}
	if e := f.Events["OrderPlaced"]; e.Owner != "orders" || !slices.Equal(e.Tags, []string{"pii", "money"}) || e.Compatibility.Name != "" {
		t.Errorf("event %+v", e)
	}
	if len(f.Waivers) != 1 {
		t.Fatalf("waivers %+v", f.Waivers)
	}
	w := f.Waivers[0]
	if w.Event != "OrderPlaced" || w.Rule != "FIELD_WITHOUT_DEFAULT" || w.Path != "$.note" || w.Consumer != "billing" ||
		w.Expires.Format("2006-01-02 15:04 MST") != "2027-01-31 00:00 UTC" || w.Pos.Line != 9 {
		t.Errorf("waiver %+v", w)
	}
}

func TestEvolutionMistakes(t *testing.T) {
	const good = "event: E, rule: R, reason: r, owner: o, expires: 2027-01-31"
	for text, want := range map[string]struct {
		code error
		has  string
	}{
		"compatibility: [FULL]":                                                    {ErrType, "catalog.yaml:1:1: "},
		"topics: order":                                                            {ErrType, "a mapping of names"},
		"topics: {order: {compatible: FULL}}":                                      {ErrUnknownKey, "topics.order.compatible"},
		"events: {E: {tags: pii}}":                                                 {ErrType, "a list of words"},
		"events: {E: {tags: [[a]]}}":                                               {ErrType, "a word"},
		"events: {E: FULL}":                                                        {ErrType, "a mapping with"},
		"waivers: {event: E}":                                                      {ErrType, "a list of waivers"},
		"waivers: [{event: E, rule: R, reason: r, owner: o}]":                      {ErrType, "expires is missing"},
		"waivers: [{rule: R, reason: r, owner: o, expires: 2027-01-31}]":           {ErrType, "event is missing"},
		"waivers: [{event: E, rule: R, owner: o, expires: 2027-01-31}]":            {ErrType, "reason is missing"},
		"waivers: [{event: E, rule: R, reason: r, owner: o, expires: next year}]":  {ErrValue, `"next year" is no day`},
		"waivers: [{event: E, rule: R, reason: r, owner: o, expires: 2027-02-30}]": {ErrValue, "no day"},
		"waivers: [{" + good + ", until: x}]":                                      {ErrUnknownKey, "waivers: until"},
	} {
		_, err := Parse("catalog.yaml", []byte(text))
		if !errors.Is(err, want.code) || !strings.Contains(err.Error(), want.has) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
