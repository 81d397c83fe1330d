package gen_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing/fstest"

	"github.com/runnel-cdc/runnel/schemas"
	"github.com/runnel-cdc/runnel/schemas/gen"
)

func ExampleGo() {
	catalog, err := schemas.Load(fstest.MapFS{"order_paid.avsc": {Data: []byte(`{
		"type": "record", "name": "OrderPaid", "aggregate": "order", "doc": "The money has arrived.",
		"fields": [
			{"name": "order_id", "type": {"type": "string", "logicalType": "uuid"}},
			{"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
			{"name": "note", "type": ["null", "string"], "doc": "From the customer"}
		]}`)}}, ".")
	if err != nil {
		fmt.Println(err)
		return
	}
	files, err := gen.Go(catalog, gen.Options{Package: "events"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(slices.Sorted(maps.Keys(files)))
	_, text, _ := strings.Cut(string(files["order_paid_gen.go"]), ")\n\n")
	text, _, _ = strings.Cut(text, "\n}\n")
	fmt.Println(text + "\n}")
	// Output:
	// [events_gen.go order_paid_gen.go]
	// // OrderPaid is the event OrderPaid of the aggregate "order".
	// //
	// // The money has arrived.
	// type OrderPaid struct {
	// 	OrderID uuid.UUID
	//
	// 	// At most 12 digits, 2 of them after the point.
	// 	Amount decimal.Decimal
	//
	// 	// From the customer. Nil is null.
	// 	Note *string
	// }
}
