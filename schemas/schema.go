package schemas

import "encoding/json"

// Type is an Avro type (Avro 1.12, section "Schema Declaration").
type Type uint8

// The Avro types.
const (
	Null Type = iota + 1
	Boolean
	Int
	Long
	Float
	Double
	Bytes
	String
	Record
	Enum
	Array
	Map
	Union
	Fixed
)

// Logical is an Avro logical type that Runnel understands; a logical type it
// does not know, or one that does not fit its base type (or is a decimal of more
// than 4096 digits), is ignored as the specification asks, but kept in Props.
type Logical uint8

// The logical types.
const (
	NoLogical Logical = iota
	Decimal
	UUID
	Date
	TimeMillis
	TimeMicros
	TimestampMillis
	TimestampMicros
	TimestampNanos
	LocalTimestampMillis
	LocalTimestampMicros
	LocalTimestampNanos
	Duration
)

// Pos is a place in a schema file, counted from 1. Zero means unknown.
type Pos struct {
	File      string
	Line, Col int
}

// Schema is a parsed Avro schema with every reference resolved: a name used
// twice is the same *Schema, so recursive types are cycles. A Schema is
// immutable after parsing and safe for concurrent use.
type Schema struct {
	Type      Type
	Logical   Logical
	Precision int // Decimal: 1 to 4096 digits
	Scale     int // Decimal

	Name      string   // Record, Enum, Fixed: the unqualified name
	Namespace string   // its namespace, or ""
	Aliases   []string // full names
	Doc       string

	Fields      []*Field  // Record
	Symbols     []string  // Enum
	EnumDefault string    // Enum; "" when it has none
	Items       *Schema   // Array: items; Map: values
	Branches    []*Schema // Union
	Size        int       // Fixed

	Props map[string]json.RawMessage // custom properties, and unknown logical types
	Pos   Pos

	index       map[string]int // Record: field by name; Enum: symbol by name; made by the parser
	most, least []byte         // Decimal: the range of its integer; made by the parser
}

// Field is a field of a record.
type Field struct {
	Name    string
	Aliases []string
	Doc     string
	Type    *Schema
	Default json.RawMessage // nil when it has none; `null` is a default
	// DefaultBranch is the branch of a union that Default is of: the first that it
	// fits. Above 0 it is one that only Avro 1.12 allows; see OldDefault.
	DefaultBranch int
	Order         string
	Props         map[string]json.RawMessage
	Pos           Pos

	defaultAvro []byte // Default in Avro binary; made by the parser
	later       bool   // a union in Default, or Default's own, is of a later branch
}

// OldDefault reports whether the field has no default that Avro 1.11 refuses: one
// where a union's value is not of the union's first branch, be it the field's own
// union or one inside. Pulsar 4.0 carries Avro 1.11.
func (f *Field) OldDefault() bool { return !f.later }

// DefaultAvro returns the field's default encoded in Avro binary, and whether
// it has one. The bytes must not be changed.
func (f *Field) DefaultAvro() ([]byte, bool) { return f.defaultAvro, f.Default != nil }

// Field returns the record's field of that name.
func (s *Schema) Field(name string) (*Field, bool) {
	i, ok := s.index[name]
	if !ok || s.Type != Record {
		return nil, false
	}
	return s.Fields[i], true
}

// FullName returns the name with its namespace, or the name of an unnamed type
// ("int", "array", ...).
func (s *Schema) FullName() string {
	switch {
	case s.Name == "":
		return s.Type.String()
	case s.Namespace == "":
		return s.Name
	}
	return s.Namespace + "." + s.Name
}

var typeNames = [...]string{
	Null: "null", Boolean: "boolean", Int: "int", Long: "long", Float: "float", Double: "double",
	Bytes: "bytes", String: "string", Record: "record", Enum: "enum", Array: "array", Map: "map",
	Union: "union", Fixed: "fixed",
}

// String returns the type's name in schema JSON.
func (t Type) String() string {
	if int(t) < len(typeNames) && typeNames[t] != "" {
		return typeNames[t]
	}
	return "invalid"
}
