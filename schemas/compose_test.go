package schemas

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"
)

func load(t testing.TB, files ...string) []*EventType {
	t.Helper()
	fsys := make(fstest.MapFS)
	for i, text := range files {
		fsys[string(rune('a'+i))+".avsc"] = &fstest.MapFile{Data: []byte(text)}
	}
	c, err := Load(fsys, ".")
	if err != nil {
		t.Fatal(err)
	}
	return c.Events()
}

func compose(t testing.TB, topic string, events []*EventType, previous *TopicSchema) *TopicSchema {
	t.Helper()
	s, err := Compose(topic, events, previous)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func event(name, fields string) string {
	return `{"type":"record","name":"` + name + `","aggregate":"a","fields":[` + fields + `]}`
}

const (
	moneyV1 = `{"type":"record","name":"Money","fields":[{"name":"x","type":"long"}]}`
	moneyV2 = `{"type":"record","name":"Money","fields":[{"name":"x","type":"long"},{"name":"y","type":"int","default":0}]}`
	useM    = `{"name":"m","type":"Money"}`
)

func branchNames(t *TopicSchema) string {
	var names []string
	for i, b := range t.Events() {
		if b.Index != i {
			return "wrong index"
		}
		names = append(names, b.Name)
	}
	return strings.Join(names, " ")
}

func TestComposeKeepsBranches(t *testing.T) {
	v1 := compose(t, "order-audit", load(t, event("D", ""), event("B", useM), event("C", useM), moneyV1), nil)
	if v1.Name != "runnel.order_audit_event" || branchNames(v1) != "B C D" || v1.Version != -1 {
		t.Fatalf("%s: %s", v1, branchNames(v1))
	}
	// A is new, C has changed, D is gone.
	events := load(t, event("A", useM), event("B", useM), event("C", useM+`,{"name":"n","type":"int","default":1}`), moneyV1)
	v2 := compose(t, "order-audit", events, v1)
	if branchNames(v2) != "B C D A" {
		t.Fatalf("branches %s", branchNames(v2))
	}
	for i, same := range []bool{true, false, true} {
		if got := v1.Events()[i].Fingerprint == v2.Events()[i].Fingerprint; got != same {
			t.Errorf("%s kept: %v, want %v", v1.Events()[i].Name, got, same)
		}
	}
	again := compose(t, "order-audit", events, v2)
	if again.JSON != v2.JSON || !again.Equal(v2) || v1.Equal(v2) {
		t.Error("composing the same again gave something else")
	}
	back, err := ParseTopicSchema(v2.JSON, 4)
	if err != nil || !back.Equal(v2) || back.Version != 4 {
		t.Errorf("read back: %v", err)
	}
	// A shared type changes: B and C follow, and so does D once it is gone.
	v3 := compose(t, "order-audit", load(t, event("A", useM), moneyV2), v2)
	if branchNames(v3) != "B C D A" || v3.Events()[0].Fingerprint == v2.Events()[0].Fingerprint {
		t.Errorf("branches %s", branchNames(v3))
	}
}

func TestComposeRefuses(t *testing.T) {
	one := load(t, event("A", useM), moneyV1)
	for name, c := range map[string]struct {
		events []*EventType
		says   string
	}{
		"nothing":         {nil, "no events"},
		"two versions":    {append(load(t, event("A", "")), one...), "two versions of A"},
		"two definitions": {append(load(t, event("B", useM), moneyV2), one...), "two definitions of Money"},
		"its own name":    {load(t, event("runnel.t_event", "")), "named as the topic's own record"},
		"name captured": {load(t, event("A", `{"name":"m","type":"Money"}`), event("B", `{"name":"m","type":"runnel.Money"}`),
			moneyV1, `{"type":"enum","name":"runnel.Money","symbols":["A"]}`, event("Money2", ""), event("runnel.C", "")), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compose("t", c.events, nil)
			if c.says == "" {
				if err != nil {
					t.Error(err) // each type keeps its meaning
				}
				return
			}
			wantFault(t, err, ErrSchemaConflict, c.says)
		})
	}
}

// An event that is kept and does not go with a type that was changed for others is named.
func TestComposeNamesWhatIsKept(t *testing.T) {
	money := func(fields string) string {
		return `{"type":"record","name":"Money","fields":[{"name":"v","type":"int"}` + fields + `]}`
	}
	withDefault := event("Kept", `{"name":"m","type":"Money","default":{"v":1}}`)
	before := compose(t, "t", load(t, withDefault, money("")), nil)
	_, err := Compose("t", load(t, event("New", useM), money(`,{"name":"unit","type":"string"}`)), before, "Kept")
	wantFault(t, err, ErrSchemaConflict, "Kept, which the topic t keeps")
	if _, err := Compose("t", load(t, event("New", useM), money(`,{"name":"unit","type":"string","default":""}`)), before, "Kept"); err != nil {
		t.Error(err)
	}
}

// An alias or an enum's default alone is no change for Avro's equality, so that
// the registry would keep the old version; the fingerprint makes it one.
func TestComposeMakesEveryChangeVisible(t *testing.T) {
	v1 := compose(t, "t", load(t, event("A", `{"name":"n","type":"int"}`)), nil)
	doc := compose(t, "t", load(t, event("A", `{"name":"n","type":"int","doc":"a number"}`)), v1)
	alias := compose(t, "t", load(t, event("A", `{"name":"n","type":"int","aliases":["m"]}`)), v1)
	if !doc.Equal(v1) || alias.Equal(v1) {
		t.Errorf("docs equal: %v; alias equal: %v", doc.Equal(v1), alias.Equal(v1))
	}
	bare := func(s *TopicSchema) *TopicSchema {
		p, err := ParseTopicSchema(s.JSON[:strings.LastIndex(s.JSON, `,"fingerprint"`)]+"}", 0)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if !bare(alias).Equal(bare(v1)) {
		t.Error("an alias counts for Equal, though not for Avro's equality")
	}
}

func TestParseTopicSchemaRefuses(t *testing.T) {
	for _, text := range []string{
		`"string"`, event("A", ""), event("A", `{"name":"event","type":"int"}`), event("A", `{"name":"event","type":["null"]}`),
	} {
		_, err := ParseTopicSchema(text, 0)
		wantFault(t, err, ErrNotATopicSchema)
	}
	_, err := ParseTopicSchema("{", 0)
	wantFault(t, err, ErrSyntax)
}

func TestComposedSchemaForOthers(t *testing.T) {
	c := sampleCatalog(t)
	for _, aggregate := range []string{"order", "category"} {
		s := compose(t, aggregate, eventsOf(c, aggregate), nil)
		other, err := twmb.Parse(s.JSON)
		if err != nil {
			t.Errorf("%s\ntwmb: %v", s.JSON, err)
			continue
		}
		if _, err := avro.ParseWithCache(s.JSON, "", &avro.SchemaCache{}); err != nil {
			t.Errorf("%s\nhamba: %v", s.JSON, err)
		}
		if names := []string{"Category", "CategoryState", "Checksum"}; aggregate == "category" {
			for _, name := range names {
				if !bytes.Contains(other.Canonical(), []byte(`"name":"`+name+`"`)) {
					t.Errorf("%s is not without a namespace for twmb: %s", name, other.Canonical())
				}
			}
		}
	}
}

func TestTopicCodec(t *testing.T) {
	number := func(typ string) []*EventType {
		return load(t, event("A", `{"name":"n","type":"`+typ+`"}`), event("B", `{"name":"s","type":"string"}`))
	}
	v := []*TopicSchema{compose(t, "t", number("int"), nil)}
	v = append(v, compose(t, "t", number("long"), v[0]))
	v = append(v, compose(t, "t", number("int"), v[1])) // as v[0], again
	v = append(v, compose(t, "t", number("double"), v[2]))
	for i := range v {
		v[i].Version = int64(i)
	}
	c, err := NewTopicCodec(v)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewTopicCodec([]*TopicSchema{v[1], v[0]}); err == nil {
		t.Error("versions out of order were accepted")
	}
	for typ, want := range map[string]int64{"int": 2, "long": 1} {
		out, topic, err := c.AppendAvro([]byte("x"), "A", number(typ)[0].Fingerprint, []byte{10})
		if err != nil || string(out) != "x\x00\x0a" || topic.Version != want {
			t.Errorf("%s went out as % x under %v, want version %d (%v)", typ, out, topic, want, err)
		}
	}
	out, topic, err := c.AppendAvro(nil, "B", number("int")[1].Fingerprint, []byte("\x02z"))
	if err != nil || string(out) != "\x02\x02z" || topic.Version != 3 {
		t.Errorf("B went out as % x under %v (%v)", out, topic, err)
	}
	e, payload, err := topic.Split(out)
	if err != nil || e.Name != "B" || string(payload) != "\x02z" {
		t.Errorf("split into %v, % x (%v)", e, payload, err)
	}
	out, topic, err = c.AppendJSON(nil, "B", []byte(`{"s":"z"}`))
	if err != nil || string(out) != "\x02\x02z" || topic.Version != 3 {
		t.Errorf("B went out as % x under %v (%v)", out, topic, err)
	}
	if err := Validate(topic.Schema(), out); err != nil {
		t.Error(err)
	}
	for _, data := range []string{"", "\x04", "\x01", "\xff"} {
		_, _, err := topic.Split([]byte(data))
		wantFault(t, err, ErrInvalidAvro)
	}

	fp := number("int")[0].Fingerprint
	_, _, err = c.AppendAvro(nil, "C", fp, nil)
	wantFault(t, err, ErrUnknownEvent, `"C"`)
	_, _, err = c.AppendJSON(nil, "AA", []byte(`{}`))
	wantFault(t, err, ErrUnknownEvent)
	_, _, err = c.AppendAvro(nil, "A", Fingerprint{1}, []byte{10})
	wantFault(t, err, ErrUnknownFingerprint, "0100000000")
	out, _, err = c.AppendAvro([]byte("x"), "A", fp, []byte{10, 10})
	wantFault(t, err, ErrInvalidAvro, "left over")
	if string(out) != "x" {
		t.Errorf("left % x behind", out)
	}
	_, _, err = c.AppendJSON(nil, "A", []byte(`{"n":"5"}`))
	wantFault(t, err, ErrInvalidJSON, "$.n: expected double")
}
