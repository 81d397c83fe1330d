package evolution

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/runnel-cdc/runnel/schemas"
)

// catalog makes a catalog of records, each given as name, aggregate and fields.
func catalog(t testing.TB, records ...string) *schemas.Catalog {
	t.Helper()
	files := fstest.MapFS{}
	for i, r := range records {
		files[fmt.Sprintf("%d.avsc", i)] = &fstest.MapFile{Data: []byte(r)}
	}
	c, err := schemas.Load(files, ".")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// record is an event of the aggregate order with the fields given, and more properties
// of the record in front, as in `"deprecated":true`.
func record(name, fields string, props ...string) string {
	return fmt.Sprintf(`{"type":"record","name":%q,"aggregate":"order",%s"fields":[%s]}`, name, strings.Join(append(props, ""), ","), fields)
}

const (
	id       = `{"name":"id","type":"string"}`
	note     = `{"name":"note","type":"string"}`
	noteOr   = `{"name":"note","type":"string","default":""}`
	amount   = `{"name":"amount","type":"int"}`
	amountL  = `{"name":"amount","type":"long"}`
	remark   = `{"name":"remark","type":"string","aliases":["note"]}`
	remarkOr = `{"name":"remark","type":"string","default":"","aliases":["note"]}`
	coupon   = `{"name":"coupon","type":["null","string"],"default":null}`
)

// within is a field with records that have fields.
func within(fields string) string {
	return `{"name":"parts","type":{"type":"array","items":{"type":"record","name":"Part","fields":[` + fields + `]}}}`
}

func byAggregate(aggregate, _ string) string { return aggregate }

func topicOf(e *schemas.EventType) string { return e.AggregateType }

var today = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// versionsOf is the versions of the event E, oldest first, as one topic registered them.
func versionsOf(t testing.TB, versions ...string) History {
	t.Helper()
	h := make(History)
	for i, fields := range versions {
		e, _ := catalog(t, record("E", fields)).Event("E")
		h["E"] = append(h["E"], Version{Event: e, Label: fmt.Sprintf("version %d", i), In: []int64{int64(i)}})
	}
	return h
}

// told lists findings as direction, rule, path, and the versions they are against.
func told(findings []Finding) []string {
	all := []string{}
	for _, f := range findings {
		var against []string
		for _, v := range f.Against {
			against = append(against, strings.TrimPrefix(v.Label, "version "))
		}
		line := fmt.Sprintf("%s %s %s %s", f.Direction, f.Rule.ID, f.Path, strings.Join(against, ","))
		for _, mark := range []struct {
			is   bool
			text string
		}{{f.Known, " known"}, {!f.Required, " not required"}, {f.Waived != nil, " waived"}} {
			if mark.is {
				line += mark.text
			}
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}

func TestJudge(t *testing.T) {
	for name, tc := range map[string]struct {
		was    []string
		now    string
		level  Level
		want   []string
		blocks bool
	}{
		"nothing changed":                    {was: []string{id + "," + note}, now: id + "," + note},
		"a field with a default comes":       {was: []string{id}, now: id + "," + noteOr},
		"a field with a default goes":        {was: []string{id + "," + noteOr}, now: id},
		"a nullable field with null comes":   {was: []string{id}, now: id + "," + coupon},
		"a field without a default comes":    {was: []string{id}, now: id + "," + note, want: []string{"backward FIELD_WITHOUT_DEFAULT $.note 0"}, blocks: true},
		"a field without a default goes":     {was: []string{id + "," + note}, now: id, want: []string{"forward FIELD_WITHOUT_DEFAULT $.note 0"}, blocks: true},
		"which a backward level lets pass":   {was: []string{id + "," + note}, now: id, level: BackwardTransitive, want: []string{"forward FIELD_WITHOUT_DEFAULT $.note 0 not required"}},
		"a field is renamed with an alias":   {was: []string{id + "," + note}, now: id + "," + remark, want: []string{"forward FIELD_WITHOUT_DEFAULT $.note 0"}, blocks: true},
		"with a default nobody would notice": {was: []string{id + "," + noteOr}, now: id + "," + remarkOr, want: []string{"forward FIELD_RENAMED $.note 0"}, blocks: true},
		"inside as well":                     {was: []string{within(noteOr)}, now: within(remarkOr), want: []string{"forward FIELD_RENAMED $.parts[].note 0"}, blocks: true},
		"renamed when it was given up":       {was: []string{id + "," + noteOr, id}, now: id + "," + remarkOr},
		"renamed against several": {was: []string{id + "," + noteOr, id + "," + noteOr + "," + coupon}, now: id + "," + remarkOr, level: BackwardTransitive,
			want: []string{"forward FIELD_RENAMED $.note 0,1 not required"}},
		"an int becomes a long":             {was: []string{amount}, now: amountL, want: []string{"forward TYPE_MISMATCH $.amount 0"}, blocks: true},
		"no level asks":                     {was: []string{amount}, now: id, level: None, want: []string{"backward FIELD_WITHOUT_DEFAULT $.id 0 not required", "forward FIELD_WITHOUT_DEFAULT $.amount 0 not required"}},
		"each step passes, and not both":    {was: []string{id, id + "," + noteOr}, now: id + "," + note, want: []string{"backward FIELD_WITHOUT_DEFAULT $.note 0"}, blocks: true},
		"which only the last one lets pass": {was: []string{id, id + "," + noteOr}, now: id + "," + note, level: Full, want: []string{"backward FIELD_WITHOUT_DEFAULT $.note 0 not required"}},
		"the same against several":          {was: []string{id + "," + note, id + "," + note + "," + coupon}, now: id, want: []string{"forward FIELD_WITHOUT_DEFAULT $.note 0,1"}, blocks: true},
		"what was let through before is not new": {was: []string{id + "," + note, id}, now: id + "," + coupon,
			want: []string{"forward FIELD_WITHOUT_DEFAULT $.note 0 known"}},
		"what goes back is new to the last": {was: []string{id + "," + note, id}, now: id + "," + note,
			want: []string{"backward FIELD_WITHOUT_DEFAULT $.note 1"}, blocks: true},
	} {
		t.Run(name, func(t *testing.T) {
			findings := Judge(catalog(t, record("E", tc.now)), versionsOf(t, tc.was...), topicOf, Settings{Level: tc.level}, today)
			if got := told(findings); !slices.Equal(got, tc.want) && len(got)+len(tc.want) > 0 {
				t.Errorf("found %q\nwant  %q", got, tc.want)
			}
			if blocks := slices.ContainsFunc(findings, func(f Finding) bool { return f.Blocks() }); blocks != tc.blocks {
				t.Errorf("blocks: %t", blocks)
			}
		})
	}
}

func TestJudgeCatalog(t *testing.T) {
	h := FromCatalog("main", catalog(t, record("Kept", id), record("Gone", id), record("Old", id, `"deprecated":"use Kept"`), record("Moved", id)))
	now := catalog(t, record("Kept", id), record("New", id), strings.Replace(record("Moved", id), `"order"`, `"basket"`, 1))
	got := told(Judge(now, h, topicOf, Settings{}, today))
	want := []string{" EVENT_AGGREGATE_CHANGED $ main", " EVENT_REMOVED $ main"}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestLevelsAndWaivers(t *testing.T) {
	h, now := versionsOf(t, id+","+note), catalog(t, record("E", id))
	waiver := Waiver{Event: "E", Rule: "FIELD_WITHOUT_DEFAULT", Path: "$.note", Expires: today.Add(time.Hour)}
	for name, tc := range map[string]struct {
		settings Settings
		blocks   bool
	}{
		"nothing said":                   {Settings{}, true},
		"the event's level":              {Settings{Events: map[string]Level{"E": Backward}}, false},
		"the topic's level":              {Settings{Topics: map[string]Level{"order": Backward}}, false},
		"the event's before the topic's": {Settings{Events: map[string]Level{"E": Full}, Topics: map[string]Level{"order": Backward}}, true},
		"the catalog's level":            {Settings{Level: Backward}, false},
		"a waiver":                       {Settings{Waive: []Waiver{waiver}}, false},
		"a waiver of another path":       {Settings{Waive: []Waiver{{Event: "E", Rule: waiver.Rule, Path: "$.id", Expires: waiver.Expires}}}, true},
		"a waiver for one consumer":      {Settings{Waive: []Waiver{{Event: "E", Rule: waiver.Rule, Consumer: "billing", Expires: waiver.Expires}}}, true},
		"a waiver that has expired":      {Settings{Waive: []Waiver{{Event: "E", Rule: waiver.Rule, Expires: today}}}, true},
	} {
		findings := Judge(now, h, topicOf, tc.settings, today)
		own := slices.DeleteFunc(slices.Clone(findings), func(f Finding) bool { return f.Rule == WaiverExpired || f.Rule == WaiverMisses })
		if len(own) != 1 || own[0].Blocks() != tc.blocks || (len(findings) > len(own)) != (tc.blocks && len(tc.settings.Waive) > 0) {
			t.Errorf("%s: %q", name, told(findings))
		}
	}
}

func TestLevelNames(t *testing.T) {
	for i, name := range Levels {
		if l, err := ParseLevel(strings.ToLower(name)); err != nil || l != levels[i] || l.String() != name {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
	if FullTransitive != (Level{}) {
		t.Error("the default is not the strictest")
	}
	for _, bad := range []string{"", "BACKWARDS", "all"} {
		if _, err := ParseLevel(bad); err == nil || !strings.Contains(err.Error(), "BACKWARD") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
