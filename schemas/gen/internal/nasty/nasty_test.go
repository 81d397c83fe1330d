// Package nasty is generated from testdata/nasty, a catalog of everything that
// is hard. These tests run the code and compare it with other Avro libraries.
// Rewrite it with `go test ./schemas/gen -update`.
package nasty_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	hamba "github.com/hamba/avro/v2"
	"github.com/shopspring/decimal"
	twmb "github.com/twmb/avro"
	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/schemas"
	"github.com/runnel-cdc/runnel/schemas/avro"
	"github.com/runnel-cdc/runnel/schemas/gen/internal/nasty"
)

// Events are payloads as values and as pointers, and decode through pointers.
var (
	_ schemas.Payload = nasty.Everything{}
	_ schemas.Payload = (*nasty.Everything)(nil)
	_ schemas.Decoder = (*nasty.Everything)(nil)
	_ schemas.Decoder = (*nasty.Node)(nil) // parts decode, too
)

// decodable is how generic code reads into a T.
type decodable[T any] interface {
	*T
	schemas.Decoder
}

// roundTrip encodes v, decodes it, and checks that both ends agree; second
// opinions decode and encode the bytes on their own.
func roundTrip[T schemas.Payload, P decodable[T]](t *rapid.T, v T, second ...func(t *rapid.T, json string, data []byte) []byte) {
	data, err := v.AppendAvro(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := schemas.Validate(v.EventType().Schema, data); err != nil {
		t.Fatal(err)
	}
	same := func(who string, data []byte) {
		var back T
		if err := P(&back).DecodeAvro(data); err != nil {
			t.Fatalf("%s: %v", who, err)
		}
		if !reflect.DeepEqual(back, v) {
			t.Fatalf("%s:\n%#v\n%#v", who, back, v)
		}
	}
	same("runnel", data)
	for i, opinion := range second {
		same(fmt.Sprintf("opinion %d", i), opinion(t, v.EventType().JSON, data))
	}
	// Bytes that lack their end, or have more, are refused, and leave the target alone.
	short := rapid.IntRange(0, max(0, len(data)-1)).Draw(t, "short")
	for _, bad := range [][]byte{data[:short], append(bytes.Clone(data), 0)} {
		var untouched T
		if err := P(&untouched).DecodeAvro(bad); !errors.Is(err, avro.ErrData) || !reflect.DeepEqual(untouched, *new(T)) {
			t.Fatalf("%d of %d bytes: %v", len(bad), len(data), err)
		}
	}
	// What is before the event stays, and an error would return it.
	if got, _ := v.AppendAvro([]byte("x")); !bytes.Equal(got[1:], data) || got[0] != 'x' {
		t.Fatalf("appended %x, alone %x", got, data)
	}
}

func byTwmb(t *rapid.T, schema string, data []byte) []byte {
	s, err := twmb.Parse(schema)
	if err != nil {
		t.Fatal(err)
	}
	var generic any
	rest, err := s.Decode(data, &generic, twmb.TaggedUnions())
	if err != nil || len(rest) > 0 {
		t.Fatalf("twmb: %d bytes left, %v", len(rest), err)
	}
	out, err := s.Encode(generic, twmb.TaggedUnions())
	if err != nil {
		t.Fatalf("twmb: %v", err)
	}
	return out
}

func byHamba(t *rapid.T, schema string, data []byte) []byte {
	s, err := hamba.ParseWithCache(schema, "", &hamba.SchemaCache{})
	if err != nil {
		t.Fatal(err)
	}
	var generic any
	if err := hamba.Unmarshal(s, data, &generic); err != nil {
		t.Fatalf("hamba: %v", err)
	}
	out, err := hamba.Marshal(s, generic)
	if err != nil {
		t.Fatalf("hamba: %v", err)
	}
	return out
}

func TestEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { roundTrip[nasty.Everything](t, everything(t), byTwmb, byHamba) })
}

func TestUnions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { roundTrip[nasty.Unions](t, unions(t), byTwmb, byHamba) })
}

func TestTemporal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { roundTrip[nasty.Temporal](t, temporal(t), byTwmb, byHamba) })
}
