package gen_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
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

// Write keeps a folder in step with the catalog; Diff says, in a build, whether
// that was forgotten.
func ExampleWrite() {
	dir, err := os.MkdirTemp("", "events-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()

	changed, stale, err := gen.Write(dir, generate("OrderPaid", "OrderShipped"))
	fmt.Println("written:", changed, "removed:", stale, err)
	changed, stale, err = gen.Write(dir, generate("OrderPaid"))
	fmt.Println("written:", changed, "removed:", stale, err)
	// Output:
	// written: [events_gen.go order_paid_gen.go order_shipped_gen.go] removed: [] <nil>
	// written: [events_gen.go] removed: [order_shipped_gen.go] <nil>
}

func ExampleDiff() {
	dir, err := os.MkdirTemp("", "events-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if _, _, err := gen.Write(dir, generate("OrderPaid")); err != nil {
		fmt.Println(err)
		return
	}
	changed, stale, err := gen.Diff(dir, generate("OrderPaid"))
	fmt.Println(changed, stale, err)
	changed, stale, err = gen.Diff(dir, generate("OrderShipped"))
	fmt.Println(changed, stale, err)

	// A file that somebody wrote is never overwritten.
	if err := os.WriteFile(filepath.Join(dir, "order_shipped_gen.go"), []byte("package events\n"), 0o600); err != nil {
		fmt.Println(err)
	}
	_, _, err = gen.Diff(dir, generate("OrderShipped"))
	fmt.Println(errors.Is(err, gen.ErrForeignFile))
	// Output:
	// [] [] <nil>
	// [events_gen.go order_shipped_gen.go] [order_paid_gen.go] <nil>
	// true
}

// generate makes the code of a catalog with events of these names.
func generate(names ...string) map[string][]byte {
	catalog := fstest.MapFS{}
	for _, name := range names {
		catalog[name+".avsc"] = &fstest.MapFile{Data: []byte(`{"type": "record", "name": "` + name +
			`", "aggregate": "order", "fields": [{"name": "order_id", "type": "string"}]}`)}
	}
	c, err := schemas.Load(catalog, ".")
	if err != nil {
		panic(err)
	}
	files, err := gen.Go(c, gen.Options{Package: "events"})
	if err != nil {
		panic(err)
	}
	return files
}
