package schemas_test

import (
	"fmt"

	"github.com/runnel-cdc/runnel/schemas"
)

func ExampleCompatibility() {
	writer, _ := schemas.Parse([]byte(`{"type": "record", "name": "OrderPaid", "fields": [
  {"name": "cents", "type": "long"},
  {"name": "method", "type": {"type": "enum", "name": "Method", "symbols": ["CARD", "CASH"]}}
]}`), "v1/OrderPaid.avsc")
	reader, _ := schemas.Parse([]byte(`{"type": "record", "name": "OrderPaid", "fields": [
  {"name": "cents", "type": "double"},
  {"name": "method", "type": {"type": "enum", "name": "Method", "symbols": ["CARD"]}},
  {"name": "note", "type": ["null", "string"]}
]}`), "v2/OrderPaid.avsc")
	findings := schemas.Compatibility(reader, writer)
	for _, f := range findings {
		fmt.Printf("%s: %s %s %s: %s\n", f.Reader, f.Rule.Severity, f.Rule.ID, f.Path, f.Message)
	}
	fmt.Println("compatible:", !schemas.Incompatible(findings))
	fmt.Println(findings[len(findings)-1].Fix)
	// Output:
	// v2/OrderPaid.avsc:2:29: warning PRECISION_LOST $.cents: long becomes double, which rounds beyond 2^53 (9,007,199,254,740,992)
	// v2/OrderPaid.avsc:3:30: error ENUM_SYMBOL_UNKNOWN $.method: the reader's Method has neither the symbol "CASH" nor a default
	// v2/OrderPaid.avsc:4:3: error FIELD_WITHOUT_DEFAULT $.note: the writer does not have the field, and the reader has no default for it
	// compatible: false
	// Give it "default": null in the reader: the union by itself is no default.
}
