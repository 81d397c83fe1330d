// Package avro is what the code written by `runnel schemas gen go` calls: it
// appends Go values as Avro binary and reads them back, one value at a time.
//
// It knows no schemas, no reflection and no unions: the generated code is the
// schema. Checking bytes against a schema that is only known at run time, and
// resolving a writer's schema to a reader's, is package schemas.
//
//	generated AppendAvro --> AppendString, AppendDecimal, ...  --> bytes
//	generated DecodeAvro <-- Reader{String, Decimal, Block}    <-- bytes
//
// Appending fails with ErrValue where a Go value does not fit its schema, and
// reading with ErrData where bytes are not a value of it. Both name the path of
// the field, as in `lines[2].price`. Nothing here grows with what bytes claim
// to hold, only with what they hold.
//
// Start with append.go, then reader.go; decimal.go and temporal.go hold the
// logical types.
package avro
