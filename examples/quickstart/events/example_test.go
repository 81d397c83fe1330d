package events_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"github.com/runnel-cdc/runnel/examples/quickstart/events"
)

// An event is a plain struct. It encodes itself, and refuses what its schema
// cannot hold before anything reaches the outbox.
func Example() {
	paid := events.OrderPaid{
		OrderID: "A-1001",
		Amount:  decimal.RequireFromString("49.9"),
		Method:  events.PaymentMethodCard,
		PaidAt:  time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC),
	}
	data, err := paid.AppendAvro(nil)
	fmt.Println(paid.EventType().Name, len(data), err)

	var back events.OrderPaid
	err = back.DecodeAvro(data)
	fmt.Println(back.Amount, back.Method, back.Reference == nil, back.PaidAt, err)

	paid.Amount = decimal.RequireFromString("49.999")
	_, err = paid.AppendAvro(nil)
	fmt.Println(err)
	// Output:
	// OrderPaid 20 <nil>
	// 49.9 CARD true 2026-02-03 04:05:06 +0000 UTC <nil>
	// amount: EVENT_VALUE_INVALID a decimal with digits beyond the schema's scale of 2; round it first
}

func BenchmarkAppendAvro(b *testing.B) {
	v, dst := placed(), make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.AppendAvro(dst); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeAvro(b *testing.B) {
	data, err := placed().AppendAvro(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var v events.OrderPlaced
		if err := v.DecodeAvro(data); err != nil {
			b.Fatal(err)
		}
	}
}

func placed() events.OrderPlaced {
	price := decimal.New(1999, -2)
	return events.OrderPlaced{
		OrderID: "A-1001", CustomerID: uuid.New(), Currency: "EUR", PlacedAt: time.Now(), Total: price.Mul(decimal.NewFromInt(3)),
		Lines: []events.OrderLine{
			{SKU: "apple", Quantity: 1, UnitPrice: price}, {SKU: "pear", Quantity: 2, UnitPrice: price},
		},
		ShipTo: &events.Address{Street: "Main Street 1", City: "Graz", Country: "AT"},
	}
}
