package avro_test

import (
	"fmt"

	"github.com/shopspring/decimal"

	"github.com/runnel-cdc/runnel/schemas/avro"
)

// Generated code appends the fields of a record one after another, and names
// the field that does not fit.
func ExampleAppendDecimal() {
	price := decimal.RequireFromString("12.5")
	data, err := avro.AppendDecimal(nil, price, 6, 2)
	fmt.Printf("%x %v\n", data, err)

	_, err = avro.AppendDecimal(nil, price.Div(decimal.NewFromInt(4)), 6, 2)
	fmt.Println(avro.At(err, "price"))
	// Output:
	// 0404e2 <nil>
	// price: EVENT_VALUE_INVALID a decimal with digits beyond the schema's scale of 2; round it first
}

// A Reader is asked for one value after another; the first failure sticks.
func ExampleReader() {
	r := avro.NewReader([]byte("\x0ahello\x54"))
	fmt.Println(r.String(), r.Long(), r.Close())

	r = avro.NewReader([]byte("\x7ehello"))
	if _ = r.String(); r.Failed("greeting") {
		fmt.Println(r.Close())
	}
	// Output:
	// hello 42 <nil>
	// greeting: INVALID_AVRO at byte 1: a length of 63 bytes where 5 remain
}
