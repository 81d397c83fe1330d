package schemas_test

import (
	"errors"
	"fmt"

	"github.com/runnel-cdc/runnel/schemas"
)

// An event as a service in any language writes it, in JSON: decimals are exact,
// missing fields take their defaults, and what does not fit is named.
func ExampleAppendJSONToAvro() {
	data, err := schemas.AppendJSONToAvro(nil, invoice(), []byte(`{"number": "A-1", "total": 12.5}`))
	fmt.Printf("% x %v\n", data, err)

	for _, text := range []string{
		`{"number": "A-1", "total": 12.505}`,
		`{"number": "A-1", "total": 12.5, "curency": "EUR"}`,
		`{"number": "A-1"}`,
	} {
		_, err = schemas.AppendJSONToAvro(nil, invoice(), []byte(text))
		fmt.Println(errors.Is(err, schemas.ErrInvalidJSON), err)
	}
	// Output:
	// 06 41 2d 31 04 04 e2 00 <nil>
	// true INVALID_JSON $.total: expected decimal(9,2), found 12.505, more digits than the type holds
	// true INVALID_JSON $: Invoice has no field "curency"
	// true INVALID_JSON $: the field "total" is missing, expected decimal(9,2)
}

// For people, and for AppendJSONToAvro to read back to the same bytes.
func ExampleAppendAvroToJSON() {
	text, err := schemas.AppendAvroToJSON(nil, invoice(), []byte("\x06A-1\x04\x04\xe2\x02\x08next"))
	fmt.Printf("%s %v\n", text, err)
	// Output:
	// {"number":"A-1","total":"12.50","note":"next"} <nil>
}

// Bytes from outside are walked before anything decodes them.
func ExampleValidate() {
	s := invoice()
	good := []byte("\x06A-1\x04\x04\xe2\x00")
	fmt.Println(schemas.Validate(s, good))
	fmt.Println(schemas.Validate(s, good[:5]))                          // cut off
	fmt.Println(schemas.Validate(s, append(good, 0)))                   // more than one value
	fmt.Println(schemas.Validate(s, []byte("\xfe\xff\xff\xff\x0fA-1"))) // a length of 2 GiB
	// Output:
	// <nil>
	// INVALID_AVRO $.total: a length of 2 for decimal (bytes) is more than the data holds (at byte 4 of 5)
	// INVALID_AVRO $: 1 bytes are left over (at byte 8 of 9)
	// INVALID_AVRO $.number: a length of 2147483647 for string is more than the data holds (at byte 0 of 8)
}

func invoice() *schemas.Schema {
	s, err := schemas.Parse([]byte(`{"type": "record", "name": "Invoice", "fields": [
	  {"name": "number", "type": "string"},
	  {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
	  {"name": "note", "type": ["null", "string"], "default": null}]}`), "")
	if err != nil {
		panic(err)
	}
	return s
}

// Two definitions that differ in what decides about data differ in their
// fingerprint; how the text is laid out does not count.
func ExampleFingerprint() {
	of := func(text string) schemas.Fingerprint {
		s, err := schemas.Parse([]byte(text), "")
		if err != nil {
			panic(err)
		}
		return s.Fingerprint()
	}
	a := of(`{"type": "record", "name": "Paid", "fields": [{"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}`)
	b := of(`{"name": "Paid", "type": "record",
	  "fields": [{"type": {"logicalType": "timestamp-micros", "type": "long"}, "name": "at"}]}`)
	c := of(`{"type": "record", "name": "Paid", "fields": [{"name": "at", "type": "long"}]}`)
	fmt.Println(a == b, a == c)
	// Output:
	// true false
}
