package token

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func sample() Token {
	return Token{Epoch: 7, LSN: 0x1BB82ED0, Events: []Event{
		{ID: [16]byte{1, 2, 3}, AggregateType: "order", Type: "OrderPlaced", KeyHash: KeyHash("42")},
		{ID: [16]byte{4, 5, 6}, AggregateType: "order", Type: "OrderPlaced", KeyHash: KeyHash("43")},
	}}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Token{Epoch: rapid.Uint32().Draw(t, "epoch"), LSN: rapid.Uint64().Draw(t, "lsn")}
		name := rapid.StringN(0, 50, 200)
		for range rapid.IntRange(0, MaxEvents).Draw(t, "events") {
			want.Events = append(want.Events, Event{
				ID:            [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
				AggregateType: name.Draw(t, "aggregate type"),
				Type:          name.Draw(t, "type"),
				KeyHash:       KeyHash(rapid.String().Draw(t, "key")),
			})
		}
		text, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(text)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	})
}

func TestShortEnoughForAHeader(t *testing.T) {
	one := sample()
	one.Events = one.Events[:1]
	text, err := one.Encode()
	if err != nil || len(text) > 80 {
		t.Errorf("%d characters: %s, %v", len(text), text, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	if _, err := (Token{Events: make([]Event, MaxEvents+1)}).Encode(); !errors.Is(err, ErrTooMany) {
		t.Errorf("too many events: %v", err)
	}
	if _, err := (Token{Events: []Event{{Type: strings.Repeat("x", 256)}}}).Encode(); err == nil {
		t.Error("a name of 256 bytes is encoded")
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := sample().Encode()
	if err != nil {
		t.Fatal(err)
	}
	bad := []string{"", "!", "AA", good + "AAAA", strings.Repeat("A", maxText+1), "Ag" + good[2:]}
	for n := range len(good) {
		bad = append(bad, good[:n])
	}
	for _, text := range bad {
		if got, err := Decode(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.40q: %+v, %v", text, got, err)
		}
	}
}

// Vectors of MurmurHash3 x86 32, seed 0, from its reference implementation.
func TestKeyHash(t *testing.T) {
	for key, murmur := range map[string]uint32{
		"": 0, "a": 0x3c2569b2, "test": 0xba6bd213, "Hello, world!": 0xc0363e43,
		"The quick brown fox jumps over the lazy dog": 0x2e4ff723,
	} {
		if got := KeyHash(key); got != murmur&0x7fffffff {
			t.Errorf("%q: %08x, want %08x", key, got, murmur&0x7fffffff)
		}
	}
}

func FuzzDecode(f *testing.F) {
	good, err := sample().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add("")
	f.Add(good[:20])
	f.Fuzz(func(t *testing.T, text string) {
		first, err := Decode(text)
		if err != nil {
			return
		}
		again, err := first.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if second, err := Decode(again); err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%+v became %+v, %v", first, second, err)
		}
	})
}

func ExampleToken_Encode() {
	text, err := Token{Epoch: 1, LSN: 0x1000, Events: []Event{
		{AggregateType: "order", Type: "OrderPlaced", KeyHash: KeyHash("42")},
	}}.Encode()
	fmt.Println(len(text), err)
	// Output: 68 <nil>
}
