package avro

import (
	"strconv"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// The faults of this package. Both name the field in Where.
var (
	ErrValue = fault.Define("EVENT_VALUE_INVALID", fault.Input,
		"A Go value does not fit the Avro schema of its field.",
		"Correct the named field before publishing, or widen its type in the schema.")
	ErrData = fault.Define("INVALID_AVRO", fault.Input,
		"The bytes are not one value of the schema in Avro binary.",
		"Find the writer that made them (generated types and runnel.publish cannot), and read with the schema they were written with.")
)

// Faults lists the codes of this package.
var Faults = []*fault.Code{ErrValue, ErrData}

// At puts a field's name before the path of err, which Append functions and
// generated AppendAvro methods return.
func At(err error, field string) error { return prefix(err, field) }

// AtIndex puts an array index before the path of err.
func AtIndex(err error, i int) error { return prefix(err, "["+strconv.Itoa(i)+"]") }

// AtKey puts a map key before the path of err.
func AtKey(err error, key string) error { return prefix(err, quoteKey(key)) }

// Invalid is the error for a value that is outside its schema for a reason that
// only the generated code knows.
func Invalid(format string, args ...any) error { return ErrValue.New(format, args...) }

func prefix(err error, element string) error {
	if e := fault.Find(err); e != nil {
		e.Where = join(element, e.Where)
	}
	return err
}

func join(element, rest string) string {
	if rest == "" || rest[0] == '[' {
		return element + rest
	}
	return element + "." + rest
}

// quoteKey keeps a hostile key from flooding the message.
func quoteKey(key string) string {
	if len(key) > 64 {
		key = key[:64]
	}
	return "[" + strconv.QuoteToASCII(key) + "]"
}
