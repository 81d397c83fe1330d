package lint

import (
	"encoding/json"
	"math"
	"strconv"

	"github.com/runnel-cdc/runnel/internal/nearest"
	"github.com/runnel-cdc/runnel/schemas"
)

// logicals are the logical types of Avro, by name.
var logicals = func() map[string]schemas.Logical {
	all := make(map[string]schemas.Logical)
	for l := schemas.Decimal; l <= schemas.Duration; l++ {
		all[l.String()] = l
	}
	return all
}()

// ignoredLogical returns the logical type that the parser could not apply: it is
// then still among the properties. The name is "" when it is not even a string.
func ignoredLogical(s *schemas.Schema) (name string, ok bool) {
	raw, ok := s.Props["logicalType"]
	if !ok || json.Unmarshal(raw, &name) != nil {
		return "", ok
	}
	return name, true
}

func logicalTypeIgnored(l *linter, at spot) {
	s := at.schema
	name, ok := ignoredLogical(s)
	if !ok {
		return
	}
	logical, known := logicals[name]
	switch {
	case name == "":
		l.at(at, at.pos(), "Write the name of a logical type, or remove it.", "has a logicalType that is %s, which is ignored", s.Props["logicalType"])
	case !known: // LOGICAL_TYPE_UNKNOWN
	case logical == schemas.Decimal && (s.Type == schemas.Bytes || s.Type == schemas.Fixed):
		message, fix := decimalFlaw(s)
		l.at(at, at.pos(), fix, "is a decimal %s, so the logical type is ignored", message)
	default:
		l.at(at, at.pos(), "Write "+logicalForms[logical]+".", "has the logical type %s on %s, where it is ignored", name, article(s.Type))
	}
}

var logicalForms = map[schemas.Logical]string{
	schemas.Decimal:              `{"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}`,
	schemas.UUID:                 `{"type": "string", "logicalType": "uuid"}`,
	schemas.Date:                 `{"type": "int", "logicalType": "date"}`,
	schemas.TimeMillis:           `{"type": "int", "logicalType": "time-millis"}`,
	schemas.TimeMicros:           `{"type": "long", "logicalType": "time-micros"}`,
	schemas.TimestampMillis:      `{"type": "long", "logicalType": "timestamp-millis"}`,
	schemas.TimestampMicros:      `{"type": "long", "logicalType": "timestamp-micros"}`,
	schemas.TimestampNanos:       `{"type": "long", "logicalType": "timestamp-nanos"}`,
	schemas.LocalTimestampMillis: `{"type": "long", "logicalType": "local-timestamp-millis"}`,
	schemas.LocalTimestampMicros: `{"type": "long", "logicalType": "local-timestamp-micros"}`,
	schemas.LocalTimestampNanos:  `{"type": "long", "logicalType": "local-timestamp-nanos"}`,
	schemas.Duration:             `a fixed of "size": 12 with "logicalType": "duration"`,
}

// maxDigits is the longest decimal that Runnel reads.
const maxDigits = 4096

// decimalFlaw says why a decimal on bytes or fixed is none.
func decimalFlaw(s *schemas.Schema) (message, fix string) {
	precision, hasPrecision := number(s, "precision")
	scale, hasScale := number(s, "scale")
	_, anyPrecision := s.Props["precision"]
	_, anyScale := s.Props["scale"]
	whole := func(key string) (string, string) {
		return "with the " + key + " " + string(s.Props[key]), "Write a whole number, as in \"" + key + "\": " + map[string]string{"precision": "12", "scale": "2"}[key] + "."
	}
	switch {
	case !anyPrecision:
		return "without a precision", `Add "precision": 12, or as many digits as there may be.`
	case !hasPrecision || precision < 1:
		return whole("precision")
	case precision > maxDigits:
		return "of " + strconv.Itoa(precision) + " digits", "Write a precision of at most " + strconv.Itoa(maxDigits) + "."
	case anyScale && !hasScale || scale < 0:
		return whole("scale")
	case scale > precision:
		return "with a scale larger than its precision", `Write "precision": ` + strconv.Itoa(scale) + " or more, or a smaller scale."
	}
	size := int(math.Ceil((float64(precision)/math.Log10(2) + 1) / 8))
	return "of " + strconv.Itoa(precision) + " digits, which " + strconv.Itoa(s.Size) + " bytes do not hold",
		`Write "size": ` + strconv.Itoa(size) + `, or make it "bytes".`
}

// number returns a property that is an integer.
func number(s *schemas.Schema, key string) (int, bool) {
	n, err := strconv.Atoi(string(s.Props[key]))
	return n, err == nil
}

func logicalTypeUnknown(l *linter, at spot) {
	name, ok := ignoredLogical(at.schema)
	if !ok || name == "" {
		return
	}
	if _, known := logicals[name]; known {
		return
	}
	var names []string
	for l := schemas.Decimal; l <= schemas.Duration; l++ {
		names = append(names, l.String())
	}
	fix := "Remove it, or name it otherwise if it is a property of your own."
	if meant := nearest.Of(name, names); meant != "" {
		fix = "Did you mean \"logicalType\": \"" + meant + "\"?"
	}
	l.at(at, at.pos(), fix, "has the logical type %q, which Avro does not know", name)
}

// logicalTypeTooNew: Avro 1.11 knows no nanoseconds and no duration, and its
// conversion of a UUID takes strings alone.
func logicalTypeTooNew(l *linter, at spot) {
	s := at.schema
	fix := ""
	switch {
	case s.Logical == schemas.TimestampNanos:
		fix = `Write {"type": "long", "logicalType": "timestamp-micros"}, if that is fine enough.`
	case s.Logical == schemas.LocalTimestampNanos:
		fix = `Write {"type": "long", "logicalType": "local-timestamp-micros"}, if that is fine enough.`
	case s.Logical == schemas.Duration:
		fix = "Write a long, and say in its name what it counts: processing_millis."
	case s.Logical == schemas.UUID && s.Type == schemas.Fixed:
		fix = `Write {"type": "string", "logicalType": "uuid"}.`
	default:
		return
	}
	l.at(at, at.pos(), fix, "has the logical type %s on %s, which Avro 1.11 does not read", s.Logical, article(s.Type))
}

// article is a type's name in a sentence.
func article(t schemas.Type) string {
	switch t {
	case schemas.Int, schemas.Array, schemas.Enum:
		return "an " + t.String()
	case schemas.Bytes, schemas.Null:
		return t.String()
	}
	return "a " + t.String()
}
