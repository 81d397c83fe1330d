package lint_test

import (
	"fmt"
	"testing/fstest"

	"github.com/runnel-cdc/runnel/schemas/lint"
)

// A service looks at its catalog in its own tests; os.DirFS or an embed.FS takes
// the place of the map.
func Example() {
	catalog := fstest.MapFS{
		"schemas/OrderPlaced.avsc": {Data: []byte(`{
  "type": "record",
  "name": "OrderPlaced",
  "aggregate": "order",
  "doc": "A customer placed an order.",
  "fields": [
    {"name": "total", "type": "double", "doc": "Sum of the lines."},
    {"name": "placed_at", "type": "long", "logicalType": "timestamp-micros", "doc": "When."}
  ]
}`)},
		"schemas/Address.avsc": {Data: []byte(`{"type": "record", "name": "Address", "fields": [}`)},
	}
	findings, err := lint.Dir(catalog, "schemas", lint.Options{})
	if err != nil {
		panic(err)
	}
	for _, f := range findings {
		fmt.Println(f.Severity, f)
		fmt.Println("   ", f.Fix)
	}
	// Output:
	// error schemas/Address.avsc:1:50: SCHEMA_SYNTAX expected a value, found '}'
	//     Correct the file at the place named.
	// warning schemas/OrderPlaced.avsc:7:5: MONEY_AS_FLOAT OrderPlaced.total is a double, and is called an amount of money
	//     Write "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}, with the digits that you need. A field that is published already keeps its type: add one beside it.
	// error schemas/OrderPlaced.avsc:8:5: ATTRIBUTE_MISPLACED OrderPlaced.placed_at has a logicalType beside its type, where it is ignored
	//     Put it inside the type: "type": {"type": "long", "logicalType": "timestamp-micros"}.
}
