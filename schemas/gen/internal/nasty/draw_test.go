package nasty_test

import (
	"math/big"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"github.com/runnel-cdc/runnel/schemas/avro"
	"github.com/runnel-cdc/runnel/schemas/gen/internal/nasty"
)

// Generators of values that encode, and come back as they were: times have
// their schema's unit, decimals its scale, slices and maps are not nil.

func maybe[T any](t *rapid.T, label string, draw func() T) *T {
	if rapid.Bool().Draw(t, label) {
		return nil
	}
	v := draw()
	return &v
}

func list[T any](t *rapid.T, label string, draw func() T) []T {
	items := make([]T, 0, 4)
	for range rapid.IntRange(0, 3).Draw(t, label) {
		items = append(items, draw())
	}
	return items
}

func mapOf[T any](t *rapid.T, label string, draw func() T) map[string]T {
	m := make(map[string]T)
	for range rapid.IntRange(0, 3).Draw(t, label) {
		m[rapid.String().Draw(t, "key")] = draw()
	}
	return m
}

func text(t *rapid.T) string { return rapid.String().Draw(t, "text") }

func status(t *rapid.T) nasty.Status {
	return rapid.SampledFrom([]nasty.Status{nasty.StatusNEW, nasty.StatusPaid_2, nasty.StatusPaid_3, nasty.StatusInTransit, nasty.StatusDHL}).Draw(t, "status")
}

func hash(t *rapid.T) nasty.MD5 {
	return nasty.MD5(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "hash"))
}

func node(t *rapid.T, depth int) nasty.Node {
	n := nasty.Node{Name: text(t), Children: []nasty.Branch{}}
	if depth > 0 {
		n.Next = maybe(t, "next", func() nasty.Node { return node(t, depth-1) })
		n.Children = list(t, "children", func() nasty.Branch { return twig(t, depth-1) })
	}
	return n
}

func twig(t *rapid.T, depth int) nasty.Branch {
	b := nasty.Branch{Nodes: map[string]nasty.Node{}, Leaf: nasty.BranchLeafInt{Value: rapid.Int32().Draw(t, "leaf")}}
	if depth > 0 {
		b.Nodes = mapOf(t, "nodes", func() nasty.Node { return node(t, depth-1) })
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			b.Leaf = twig(t, depth-1)
		case 1:
			b.Leaf = node(t, depth-1)
		}
	}
	return b
}

func everything(t *rapid.T) nasty.Everything {
	return nasty.Everything{
		Type: text(t), EventType_2: rapid.Bool().Draw(t, "bool"), AppendAvro_2: rapid.Int32().Draw(t, "int"),
		OrderID: rapid.Int64().Draw(t, "long"), OrderID_2: rapid.Int64().Draw(t, "long"), OrderID_3: 3,
		X: rapid.Float32().Draw(t, "float"), X1st: rapid.Float64().Draw(t, "double"),
		Err: rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"),
		Dst: maybe(t, "dst", func() string { return text(t) }),
		R:   rapid.SampledFrom([][]byte{nil, {}, {0}, {1, 2, 255}}).Draw(t, "r"),
		V:   rapid.SampledFrom([][]int32{nil, {}, {0}, {1, -2}}).Draw(t, "v"),
		Depth: mapOf(t, "depth", func() *float64 {
			return maybe(t, "value", func() float64 { return rapid.Float64().Draw(t, "double") })
		}),
		Only:      text(t),
		Nulls:     list(t, "nulls", func() struct{} { return struct{}{} }),
		MoreNulls: list(t, "nulls", func() struct{} { return struct{}{} }),
		NullMap:   mapOf(t, "null_map", func() struct{} { return struct{}{} }),
		Empties:   list(t, "empties", func() nasty.Empty { return nasty.Empty{} }),
		Matrix: list(t, "matrix", func() []map[string][]string {
			return list(t, "row", func() map[string][]string {
				if rapid.Bool().Draw(t, "null") {
					return nil
				}
				return mapOf(t, "cell", func() []string { return list(t, "strings", func() string { return text(t) }) })
			})
		}),
		Status:    status(t),
		OldStatus: maybe(t, "old_status", func() nasty.Status { return status(t) }),
		Statuses:  mapOf(t, "statuses", func() nasty.Status { return status(t) }),
		Hash:      hash(t),
		OldHash:   maybe(t, "old_hash", func() nasty.MD5 { return hash(t) }),
		Node:      node(t, 3),
		ShipTo:    nasty.ShopAddress{Street: text(t)},
		BillTo:    maybe(t, "bill_to", func() nasty.BillingAddress { return nasty.BillingAddress{VatID: text(t)} }),
	}
}

func unions(t *rapid.T) nasty.Unions {
	card := nasty.Card{LastDigits: text(t), UnionsRequired: 7}
	return nasty.Unions{
		Payment: rapid.SampledFrom([]nasty.UnionsPayment_2{
			nil, card, status(t), hash(t), nasty.UnionsPayment_2String{Value: text(t)}, nasty.UnionsPayment_2Boolean{Value: true},
			nasty.UnionsPayment_2TimestampMillis{Value: instant(t, time.Millisecond)}, nasty.UnionsPayment_2Price{Value: money(t, 20, 4)},
		}).Draw(t, "payment"),
		Required: rapid.SampledFrom([]nasty.UnionsRequired{
			nasty.UnionsRequiredArray{Value: []nasty.UnionsRequiredArrayItem{
				nasty.UnionsRequiredArrayItemInt{Value: 1}, nasty.UnionsRequiredArrayItemString{Value: text(t)},
			}},
			nasty.UnionsRequiredMap{Value: map[string]nasty.UnionsRequiredMapValue{
				"null": nil, "card": card, text(t): nasty.UnionsRequiredMapValueInt{Value: -1},
			}},
			nasty.UnionsRequiredBytes{Value: []byte(text(t))},
		}).Draw(t, "required"),
		Items: list(t, "items", func() nasty.UnionsItemsItem {
			return rapid.SampledFrom([]nasty.UnionsItemsItem{nil, nasty.UnionsItemsItemInt{Value: 5}, node(t, 1)}).Draw(t, "item")
		}),
		Values: mapOf(t, "values", func() nasty.UnionsValuesValue {
			return rapid.SampledFrom([]nasty.UnionsValuesValue{
				nasty.UnionsValuesValueFloat{Value: 0.5}, nasty.UnionsValuesValueDouble{Value: 0.1}, nasty.UnionsValuesValueLong{Value: 1 << 40},
			}).Draw(t, "value")
		}),
	}
}

// instant draws a time that other libraries can hold, too.
func instant(t *rapid.T, unit time.Duration) time.Time {
	v := rapid.Int64Range(-1<<42, 1<<42).Draw(t, "instant")
	return time.Unix(v/1000, 0).UTC().Add(time.Duration(v%1000) * unit)
}

func money(t *rapid.T, precision, scale int) decimal.Decimal {
	digits := rapid.StringMatching(`-?[1-9][0-9]*`).Filter(func(s string) bool { return len(s) <= precision }).Draw(t, "digits")
	v, _ := new(big.Int).SetString(digits, 10)
	if v.IsInt64() {
		return decimal.New(v.Int64(), -int32(scale))
	}
	return decimal.NewFromBigInt(v, -int32(scale))
}

func temporal(t *rapid.T) nasty.Temporal {
	return nasty.Temporal{
		Date:            time.Unix(int64(rapid.Int32Range(-100_000, 100_000).Draw(t, "date"))*86400, 0).UTC(),
		TimeMillis:      time.Duration(rapid.IntRange(0, 86_399_999).Draw(t, "millis")) * time.Millisecond,
		TimeMicros:      time.Duration(rapid.IntRange(0, 86_399_999_999).Draw(t, "micros")) * time.Microsecond,
		TimestampMillis: instant(t, time.Millisecond), TimestampMicros: instant(t, time.Microsecond), TimestampNanos: instant(t, time.Nanosecond),
		LocalMillis: instant(t, time.Millisecond), LocalMicros: instant(t, time.Microsecond), LocalNanos: instant(t, time.Nanosecond),
		ID:      uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
		FixedID: uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
		Price:   money(t, 12, 2), Huge: money(t, 60, 10), FixedPrice: money(t, 20, 4), Whole: money(t, 5, 0),
		Duration:  avro.Duration{Months: rapid.Uint32().Draw(t, "months"), Days: 2, Millis: rapid.Uint32().Draw(t, "ms")},
		PaidAt:    maybe(t, "paid_at", func() time.Time { return instant(t, time.Microsecond) }),
		Discounts: list(t, "discounts", func() decimal.Decimal { return money(t, 4, 3) }),
		Unknown:   rapid.Int64().Draw(t, "unknown"),
	}
}
