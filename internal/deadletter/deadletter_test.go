package deadletter

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/position"
)

func at(lsn uint64) position.Position { return position.Position{Epoch: 1, LSN: lsn} }

func letter(lsn uint64, id byte) *Letter {
	return &Letter{
		Entry:     Entry{Position: at(lsn), Rank: at(lsn), ID: [16]byte{id, 2, 3}, Key: Key{"order", "o-1"}, Committed: int64(lsn) * 10},
		EventType: "Placed", Encoding: 1, Fingerprint: [32]byte{4, 5}, Headers: []byte(`{"a":"b"}`),
		OccurredAt: 1_700_000_000_000_001, Code: "EVENT_UNENCODABLE", Reason: "what \xff is wrong", Payload: []byte("bytes\x00"),
	}
}

func TestLetter(t *testing.T) {
	l := letter(7, 1)
	properties := l.Properties(at(3))
	back, err := ParseLetter(at(7), l.Payload, properties)
	if err != nil {
		t.Fatal(err)
	}
	l.Reason = "what  is wrong"
	if a, b := mustJSON(t, l), mustJSON(t, back); a != b {
		t.Errorf("%s\nbecame %s", a, b)
	}
	if floor, err := Floor(properties); err != nil || floor != at(3) {
		t.Errorf("floor %s, %v", floor, err)
	}
	packed, err := Pack(bytes.Repeat([]byte("x"), 100_000), properties)
	if err != nil || len(packed) > 1000 {
		t.Fatalf("%d bytes, %v", len(packed), err)
	}
	if back, err = ParseLetter(at(7), packed, properties); err != nil || len(back.Payload) != 100_000 {
		t.Errorf("%v, %v", back, err)
	}
	l.Reason = strings.Repeat("ü", 3000)
	if text := l.Properties(at(1))["error"]; len(text) > maxReason {
		t.Errorf("a reason of %d bytes", len(text))
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestParseLetterRefuses(t *testing.T) {
	for name, value := range map[string]string{
		"id": "7", "rank": "x", "committed_at": "", "occurred_at": "y", "encoding": "300", "fingerprint": "00", "compression": "brotli",
	} {
		p := letter(7, 1).Properties(at(7))
		p[name] = value
		if l, err := ParseLetter(at(7), nil, p); err == nil {
			t.Errorf("%s = %q: %+v", name, value, l)
		}
	}
}

// The log keeps an aggregate's events in the order of their ranks, whatever order they
// were parked in.
func TestLog(t *testing.T) {
	var l Log
	park := func(e *Letter) {
		t.Helper()
		if r, err := l.Add(e.Position, e.Payload, e.Properties(e.Position)); r != nil || err != nil {
			t.Fatal(r, err)
		}
	}
	first, second, third := letter(10, 1), letter(20, 2), letter(30, 3)
	park(first)
	park(second)
	other := letter(25, 9)
	other.Key.AggregateID = "o-2"
	park(other)
	if s := l.Summary(); s.Events != 3 || s.Aggregates != 2 || s.Floor != at(10) || s.Since != 100 {
		t.Errorf("%+v", s)
	}
	release := NewRelease(first.Key, false, []Entry{first.Entry})
	payload, _ := json.Marshal(release)
	got, err := l.Add(at(28), payload, release.Properties(at(20)))
	if err != nil || got == nil || len(got.Released) != 1 || l.Len() != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	park(third)
	again := letter(40, 1)
	again.Rank = at(10)
	park(again)
	var order []byte
	for _, e := range l.Of(first.Key) {
		order = append(order, e.ID[0])
	}
	if string(order) != "\x01\x02\x03" {
		t.Errorf("order %v", order)
	}
	if l.Blocks(first.Key, at(10)) || !l.Blocks(first.Key, at(11)) || l.Blocks(Key{"order", "o-3"}, at(99)) {
		t.Error("what blocks what")
	}
	if _, ok := l.Release(first.Key, Ref{again.ID, at(10)}); ok {
		t.Error("an event was released at a position that it has no more")
	}
	if all := l.All(); len(all) != 4 || all[3].Position != at(40) {
		t.Errorf("%v", all)
	}
	if _, err := l.Add(at(50), nil, map[string]string{"type": "Placed"}); err == nil {
		t.Error("a message of another type was taken")
	}
}

// What is kept of the lowest is what a look at everything tells.
func TestSummary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l Log
		for n := range uint64(rapid.IntRange(0, 40).Draw(t, "steps")) {
			if all := l.All(); len(all) > 0 && rapid.Bool().Draw(t, "release") {
				e := rapid.SampledFrom(all).Draw(t, "event")
				if _, ok := l.Release(e.Key, Ref{e.ID, e.Position}); !ok {
					t.Fatal("not released")
				}
			} else {
				e := letter(n+10, byte(n)).Entry
				e.Key.AggregateID = rapid.StringMatching("[ab]").Draw(t, "key")
				e.Committed = int64(rapid.IntRange(1, 5).Draw(t, "committed"))
				l.Park(e)
			}
			got := l.Summary()
			l.look()
			if want := l.Summary(); l.n > 0 && got != want || got.Events != len(l.All()) {
				t.Fatalf("%+v, want %+v", got, want)
			}
		}
	})
}

func TestRecord(t *testing.T) {
	text, _ := json.Marshal(NewRecord(Key{"order", "o-1"}, true, []Entry{letter(7, 1).Entry}))
	r, refs, err := ParseRecord(text)
	if err != nil || !r.Discard || r.Key() != (Key{"order", "o-1"}) || len(refs) != 1 || refs[0] != (Ref{[16]byte{1, 2, 3}, at(7)}) {
		t.Errorf("%s: %+v, %v, %v", text, r, refs, err)
	}
	for _, wrong := range []string{"", "{}", `{"events":[]}`, `{"events":[{"id":"x","position":"y"}]}`, `{"events":[{"id":"01020300-0000-0000-0000-000000000000","position":"y"}]}`} {
		if _, _, err := ParseRecord([]byte(wrong)); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

// Bytes of the topic are foreign once somebody else may write there.
func FuzzAdd(f *testing.F) {
	l := letter(7, 1)
	release, _ := json.Marshal(NewRelease(l.Key, false, []Entry{l.Entry}))
	f.Add([]byte("x"), mustMarshal(l.Properties(at(7))))
	f.Add(release, mustMarshal(NewRelease(l.Key, false, nil).Properties(at(7))))
	f.Fuzz(func(t *testing.T, payload, properties []byte) {
		var p map[string]string
		if json.Unmarshal(properties, &p) != nil {
			return
		}
		var l Log
		if _, err := l.Add(at(7), payload, p); err == nil && l.Len() > 1 {
			t.Errorf("%d parked by one message", l.Len())
		}
		if parsed, err := ParseLetter(at(7), payload, p); err == nil && parsed.Position != at(7) {
			t.Error(parsed.Position)
		}
		_, _, _ = ParseRecord(payload)
	})
}

func mustMarshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

func TestTopic(t *testing.T) {
	seen := make(map[string]string)
	for _, name := range []string{"orders", "Orders", "or ders", "or-ders", "or_ders", strings.Repeat("x", 300), strings.Repeat("x", 301), "a/b", "ü", "x-partition-1"} {
		topic := Topic(name)
		if other, twice := seen[topic]; twice || !IsTopic(topic) || len(topic) > 200 {
			t.Errorf("%q: %s, as %q", name, topic, other)
		}
		seen[topic] = name
	}
	if Topic("orders") != "runnel-dead-orders" {
		t.Error(Topic("orders"))
	}
}
