package schemas_test

import (
	"errors"
	"fmt"
	"os"

	"github.com/runnel-cdc/runnel/schemas"
)

func ExampleLoad() {
	catalog, err := schemas.Load(os.DirFS("testdata"), "catalog")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, e := range catalog.Events() {
		fmt.Println(e.AggregateType, e.Name, e.Fingerprint.String()[:8])
	}
	// Output:
	// category CategoryMoved c2d6623f
	// order shop.OrderCancelled adeaf9d4
	// order shop.OrderPaid 2cc4cfac
	// order shop.OrderPlaced 1c0ab615
}

func ExampleParse() {
	_, err := schemas.Parse([]byte(`{
  "type": "record", "name": "OrderPlaced", "fields": [
    {"name": "total", "type": "Mony"}
  ]}`), "OrderPlaced.avsc")
	fmt.Println(err)
	// Output:
	// OrderPlaced.avsc:3:31: SCHEMA_UNRESOLVED_REFERENCE no type is named "Mony"
}

func ExampleTopicCodec() {
	reserved, _ := schemas.ParseEventType(`{"type": "record", "name": "Reserved", "aggregate": "item", "fields": [
	  {"name": "sku", "type": "string"}, {"name": "quantity", "type": "int", "default": 1}]}`)
	topic, _ := schemas.Compose("item", []*schemas.EventType{reserved}, nil)
	fmt.Println(topic.Name)
	codec, _ := schemas.NewTopicCodec([]*schemas.TopicSchema{topic})

	message, under, err := codec.AppendJSON(nil, "Reserved", []byte(`{"sku": "A-1"}`))
	fmt.Printf("% x %v\n", message, err)
	event, payload, _ := under.Split(message)
	text, _ := schemas.AppendAvroToJSON(nil, event.Schema, payload)
	fmt.Printf("%s %s\n", event.Name, text)

	_, _, err = codec.AppendJSON(nil, "Reserved", []byte(`{"sku": "A-1", "quantity": "two"}`))
	fmt.Println(errors.Is(err, schemas.ErrInvalidJSON), err)
	// Output:
	// runnel.item_event
	// 00 06 41 2d 31 02 <nil>
	// Reserved {"sku":"A-1","quantity":1}
	// true INVALID_JSON $.quantity: expected int, found a string
}

func ExampleResolver() {
	writer, _ := schemas.Parse([]byte(`{"type": "record", "name": "Paid", "fields": [
	  {"name": "cents", "type": "int"}]}`), "")
	reader, _ := schemas.Parse([]byte(`{"type": "record", "name": "Paid", "fields": [
	  {"name": "currency", "type": "string", "default": "EUR"}, {"name": "amount", "type": "long", "aliases": ["cents"]}]}`), "")
	resolver, _ := schemas.NewResolver(writer, reader)
	data, err := resolver.Append(nil, []byte{0x14})
	text, _ := schemas.AppendAvroToJSON(nil, reader, data)
	fmt.Println(string(text), err)

	_, err = schemas.NewResolver(reader, writer)
	fmt.Println(err)
	// Output:
	// {"currency":"EUR","amount":10} <nil>
	// SCHEMA_INCOMPATIBLE Paid cannot be read as Paid: $.cents: the writer does not have the field, and the reader has no default for it
}
