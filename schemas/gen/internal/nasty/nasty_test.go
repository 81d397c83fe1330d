package nasty_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
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

// TestValidMeansDecodable: what schemas.Validate lets pass, the generated code
// reads, whatever became of the bytes.
func TestValidMeansDecodable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		check := func(v schemas.Payload, into schemas.Decoder) {
			data, err := v.AppendAvro(nil)
			if err != nil {
				t.Fatal(err)
			}
			for n := rapid.IntRange(0, 3).Draw(t, "damages"); n > 0 && len(data) > 0; n-- {
				at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
				switch rapid.IntRange(0, 3).Draw(t, "damage") {
				case 0:
					data[at] = rapid.Byte().Draw(t, "byte")
				case 1:
					data = append(data[:at], data[at+1:]...)
				case 2:
					data = slices.Insert(data, at, rapid.Byte().Draw(t, "byte"))
				case 3:
					data[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
				}
			}
			if schemas.Validate(v.EventType().Schema, data) != nil {
				return
			}
			if err := into.DecodeAvro(data); err != nil {
				t.Fatalf("%s % x: %v", v.EventType().Name, data, err)
			}
		}
		check(everything(t), new(nasty.Everything))
		check(unions(t), new(nasty.Unions))
		check(temporal(t), new(nasty.Temporal))
	})
}

func TestUnions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { roundTrip[nasty.Unions](t, unions(t), byTwmb, byHamba) })
}

func TestTemporal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { roundTrip[nasty.Temporal](t, temporal(t), byTwmb, byHamba) })
}

// TestMeaning has another library say what the bytes mean, in its own terms.
func TestMeaning(t *testing.T) {
	at := time.Date(2026, 2, 3, 4, 5, 6, 789_123_456, time.FixedZone("", 3600))
	v := nasty.Temporal{
		Date: at, TimeMillis: 3*time.Second + 999, TimestampMillis: at, TimestampMicros: at, TimestampNanos: at, LocalMicros: at, LocalNanos: at,
		Price: decimal.RequireFromString("-1234.5"), Huge: decimal.RequireFromString("123456789012345678901234567890.0000000001"),
		FixedPrice: decimal.RequireFromString("-0.0001"),
	}
	data, err := v.AppendAvro(nil)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if _, err := twmb.MustParse(v.EventType().JSON).Decode(data, &got); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"date": "2026-02-03 00:00:00 +0000 UTC", "time_millis": "3s",
		"timestamp_millis": "2026-02-03 03:05:06.789 +0000 UTC", "timestamp_micros": "2026-02-03 03:05:06.789123 +0000 UTC",
		"timestamp_nanos": "2026-02-03 03:05:06.789123456 +0000 UTC", "local_micros": "2026-02-03 04:05:06.789123 +0000 UTC",
		"price": "-2469/2", "fixed_price": "-1/10000", "huge": "1234567890123456789012345678900000000001/10000000000",
		"id": "00000000-0000-0000-0000-000000000000", "paid_at": "<nil>",
	} {
		if text := fmt.Sprint(got[field]); text != want {
			t.Errorf("%s: %s, want %s", field, text, want)
		}
	}
}

// TestRefusedValues: every error names the field.
func TestRefusedValues(t *testing.T) {
	valid := func() nasty.Everything {
		return nasty.Everything{Status: nasty.StatusNEW}
	}
	loop := &nasty.Node{Name: "loop"}
	loop.Next = loop
	bad := nasty.Status("bad")
	for where, v := range map[string]schemas.Payload{
		"status":     nasty.Everything{},
		"old_status": func() nasty.Everything { v := valid(); v.OldStatus = &bad; return v }(),
		"type":       func() nasty.Everything { v := valid(); v.Type = "\xff"; return v }(),
		`statuses["k"]`: func() nasty.Everything {
			v := valid()
			v.Statuses = map[string]nasty.Status{"a": nasty.StatusNEW, "k": ""}
			return v
		}(),
		`matrix[0][1]["k"][2]`: func() nasty.Everything {
			v := valid()
			v.Matrix = [][]map[string][]string{{nil, {"k": {"", "", "\xff"}}}}
			return v
		}(),
		`depth["\xff"]`: func() nasty.Everything { v := valid(); v.Depth = map[string]*float64{"\xff": nil}; return v }(),
		"nulls":         func() nasty.Everything { v := valid(); v.Nulls = make([]struct{}, avro.MaxAppendEmpty+1); return v }(),
		"node" + strings.Repeat(".next", 255): func() nasty.Everything {
			v := valid()
			v.Node = *loop
			return v
		}(),
		"node.children[0].leaf": func() nasty.Everything { v := valid(); v.Node.Children = make([]nasty.Branch, 1); return v }(),
		"required":              nasty.Unions{},
		"payment":               nasty.Unions{Payment: (*nasty.Card)(nil)},
		"payment.last_digits":   nasty.Unions{Payment: nasty.Card{LastDigits: "\xff"}},
		"required[1]":           nasty.Unions{Required: nasty.UnionsRequiredArray{Value: []nasty.UnionsRequiredArrayItem{nasty.UnionsRequiredArrayItemInt{}, nil}}},
		"price":                 nasty.Temporal{Price: decimal.RequireFromString("0.001")},
		"discounts[1]":          nasty.Temporal{Discounts: []decimal.Decimal{{}, decimal.RequireFromString("10")}},
		"time_micros":           nasty.Temporal{TimeMicros: 24 * time.Hour},
	} {
		if tv, ok := v.(nasty.Temporal); ok {
			tv.TimestampNanos, tv.LocalNanos = time.Unix(0, 0), time.Unix(0, 0)
			v = tv
		}
		dst, err := v.AppendAvro([]byte("x"))
		if !errors.Is(err, avro.ErrValue) || string(dst) != "x" {
			t.Errorf("%s: %v, %q", where, err, dst)
			continue
		}
		if got := fault.Find(err).Where; got != where {
			t.Errorf("at %s, want %s: %v", got, where, err)
		}
	}
}

// TestPointerBranches: a pointer is a branch as well as the value it points to.
func TestPointerBranches(t *testing.T) {
	status := nasty.StatusDHL
	for _, pair := range [][2]nasty.Unions{
		{{Payment: nasty.Card{LastDigits: "1"}}, {Payment: &nasty.Card{LastDigits: "1"}}},
		{{Payment: status}, {Payment: &status}},
		{{Payment: nasty.MD5{1}}, {Payment: &nasty.MD5{1}}},
		{{Payment: nasty.UnionsPayment_2String{Value: "s"}}, {Payment: &nasty.UnionsPayment_2String{Value: "s"}}},
	} {
		pair[0].Required, pair[1].Required = nasty.UnionsRequiredBytes{}, &nasty.UnionsRequiredBytes{}
		a, errA := pair[0].AppendAvro(nil)
		b, errB := pair[1].AppendAvro(nil)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%x, %v; %x, %v", a, errA, b, errB)
		}
	}
}

// TestDepthAgrees: the deepest value that encodes is valid and decodes.
func TestDepthAgrees(t *testing.T) {
	v := nasty.Everything{Status: nasty.StatusNEW}
	inner := &v.Node
	for range avro.MaxAppendDepth/2 - 1 {
		inner.Children = []nasty.Branch{{Leaf: nasty.Node{}}}
		leaf := nasty.Node{}
		inner.Children[0].Leaf = &leaf
		inner = &leaf
	}
	for err := error(nil); ; inner = inner.Next {
		var data []byte
		if data, err = v.AppendAvro(nil); err != nil {
			break
		}
		if err := schemas.Validate(v.EventType().Schema, data); err != nil {
			t.Fatal(err)
		}
		if err := new(nasty.Everything).DecodeAvro(data); err != nil {
			t.Fatal(err)
		}
		inner.Next = &nasty.Node{}
	}
}

func TestEventTypes(t *testing.T) {
	var names []string
	for _, e := range nasty.EventTypes() {
		names = append(names, e.Name)
		if !json.Valid([]byte(e.JSON)) {
			t.Errorf("%s: not JSON", e.Name)
		}
	}
	want := "billing.Address shop.Address shop.orders.v1.Temporal shop.orders.v1.Unions shop.orders.v1.everything"
	if got := strings.Join(names, " "); got != want {
		t.Error(got)
	}
	if a, b := (nasty.Temporal{}).EventType(), (&nasty.Temporal{}).EventType(); a != b || a.AggregateType != "order" {
		t.Error("not the same event type")
	}
}

// TestAllocations: with room in dst, encoding allocates nothing.
func TestAllocations(t *testing.T) {
	note, price := "note", decimal.RequireFromString("12345.6")
	ten := 10.0
	events := map[string]func(dst []byte) ([]byte, error){
		"everything": nasty.Everything{
			Type: "t", Dst: &note, R: []byte("r"), V: []int32{1, 2}, Depth: map[string]*float64{"a": &ten, "b": nil, "c": &ten},
			Matrix: [][]map[string][]string{{{"k": {"x", "y"}}, nil}}, Status: nasty.StatusDHL,
			Node:   nasty.Node{Next: &nasty.Node{}, Children: []nasty.Branch{{Nodes: map[string]nasty.Node{"n": {}}, Leaf: nasty.Node{}}}},
			BillTo: &nasty.BillingAddress{VatID: "DE1"},
		}.AppendAvro,
		"temporal": nasty.Temporal{
			TimestampNanos: time.Unix(1, 1), LocalNanos: time.Unix(1, 1), Price: price, Huge: price, FixedPrice: price.Neg(), Discounts: []decimal.Decimal{{}},
		}.AppendAvro,
		"unions": nasty.Unions{Payment: nasty.Card{}, Required: nasty.UnionsRequiredMap{Value: map[string]nasty.UnionsRequiredMapValue{"k": nil}}}.AppendAvro,
		"pointers": nasty.Unions{
			Payment:  &nasty.Card{},
			Required: &nasty.UnionsRequiredMap{Value: map[string]nasty.UnionsRequiredMapValue{"k": &nasty.Card{LastDigits: "1"}, "l": &nasty.UnionsRequiredMapValueInt{}}},
			Items:    []nasty.UnionsItemsItem{&nasty.Node{Children: []nasty.Branch{{Leaf: &nasty.Branch{Leaf: &nasty.Node{}}}}}, &nasty.UnionsItemsItemInt{}},
			Values:   map[string]nasty.UnionsValuesValue{"k": &nasty.UnionsValuesValueDouble{}},
		}.AppendAvro,
	}
	dst := make([]byte, 0, 4096)
	for name, appendAvro := range events {
		if n := testing.AllocsPerRun(100, func() {
			if _, err := appendAvro(dst); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// FuzzDecodeAvro decodes foreign bytes: no panic, no hang, and what decodes
// encodes to something that means the same.
func FuzzDecodeAvro(f *testing.F) {
	for _, v := range []schemas.Payload{
		nasty.Everything{Status: nasty.StatusNEW, Node: nasty.Node{Next: &nasty.Node{}}},
		nasty.Unions{Required: nasty.UnionsRequiredBytes{}, Values: map[string]nasty.UnionsValuesValue{"k": nasty.UnionsValuesValueFloat{}}},
		nasty.Temporal{TimestampNanos: time.Unix(0, 0), LocalNanos: time.Unix(0, 0), Discounts: make([]decimal.Decimal, 2)},
	} {
		data, err := v.AppendAvro(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		again[nasty.Everything](t, data)
		again[nasty.Unions](t, data)
		again[nasty.Temporal](t, data)
		again[nasty.Node](t, data)
	})
}

func again[T interface{ AppendAvro([]byte) ([]byte, error) }, P decodable[T]](t *testing.T, data []byte) {
	var v, w T
	if err := P(&v).DecodeAvro(data); err != nil {
		if event, ok := any(v).(schemas.Payload); ok && schemas.Validate(event.EventType().Schema, data) == nil {
			t.Fatalf("% x is valid: %v", data, err)
		}
		if !errors.Is(err, avro.ErrData) {
			t.Fatal(err)
		}
		return
	}
	first, err := v.AppendAvro(nil)
	if err != nil {
		return // deeper than Runnel writes
	}
	if err := P(&w).DecodeAvro(first); err != nil {
		t.Fatal(err)
	}
	second, err := w.AppendAvro(nil)
	if err != nil || !bytes.Equal(first, second) {
		t.Fatalf("%x, then %x, %v", first, second, err)
	}
}
