package schemas

import (
	"errors"
	"strings"
	"testing"
)

// A row in JSON goes out under the newest version that it fits.
func TestJSONOfAnOlderVersion(t *testing.T) {
	version := func(v int64, fields string) *TopicSchema {
		t.Helper()
		e, err := ParseEventType(`{"type":"record","name":"E","aggregate":"a","fields":[` + fields + `]}`)
		if err != nil {
			t.Fatal(err)
		}
		composed, err := Compose("a", []*EventType{e}, nil)
		if err != nil {
			t.Fatal(err)
		}
		composed.Version = v
		return composed
	}
	const id, note, count = `{"name":"id","type":"string"}`, `,{"name":"note","type":"string","default":""}`, `,{"name":"count","type":"int","default":0}`
	c, err := NewTopicCodec([]*TopicSchema{version(0, id+note), version(1, id), version(2, id+note), version(3, id+count)})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int64{
		`{"id":"1"}`:             3,
		`{"id":"1","count":2}`:   3,
		`{"id":"1","note":"x"}`:  2,
		`{"id":"1","other":"x"}`: -1,
	} {
		_, topic, err := c.AppendJSON(nil, "E", []byte(text))
		switch {
		case want < 0 && (!errors.Is(err, ErrInvalidJSON) || !strings.Contains(err.Error(), "other")):
			t.Errorf("%s: %v", text, err)
		case want >= 0 && (err != nil || topic.Version != want):
			t.Errorf("%s: under %v (%v), want version %d", text, topic, err, want)
		}
	}
}
