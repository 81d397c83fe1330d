package gen

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/runnel-cdc/runnel/schemas"
)

// scalar is a type that one call appends and one call reads.
type scalar struct {
	goType   string
	use      string // import path of goType; may be empty
	append   string // the helper's name after avro.Append
	read     string // the Reader's method
	args     string // arguments after the value, as ", 12, 2"
	fallible bool   // the helper returns an error
}

func (s scalar) readCall() string {
	return fmt.Sprintf("r.%s(%s)", s.read, strings.TrimPrefix(s.args, ", "))
}

const (
	avroPath    = "github.com/runnel-cdc/runnel/schemas/avro"
	schemasPath = "github.com/runnel-cdc/runnel/schemas"
	uuidPath    = "github.com/google/uuid"
	decimalPath = "github.com/shopspring/decimal"
)

// scalarOf returns the scalar that s is, if it is one.
func scalarOf(s *schemas.Schema) (scalar, bool) {
	switch s.Logical {
	case schemas.Decimal:
		args := fmt.Sprintf(", %d, %d", s.Precision, s.Scale)
		if s.Type == schemas.Fixed {
			return scalar{"decimal.Decimal", decimalPath, "DecimalFixed", "DecimalFixed", fmt.Sprintf("%s, %d", args, s.Size), true}, true
		}
		return scalar{"decimal.Decimal", decimalPath, "Decimal", "Decimal", args, true}, true
	case schemas.UUID:
		if s.Type == schemas.String {
			return scalar{goType: "uuid.UUID", use: uuidPath, append: "UUID", read: "UUID"}, true
		}
		return scalar{}, false
	case schemas.Duration:
		return scalar{goType: "avro.Duration", use: avroPath, append: "Duration", read: "Duration"}, true
	case schemas.TimeMillis, schemas.TimeMicros:
		name := logicalNames[s.Logical]
		return scalar{goType: "time.Duration", use: "time", append: name, read: name, fallible: true}, true
	case schemas.NoLogical:
	default: // a date, or a timestamp; a local one is read as one in UTC
		name := logicalNames[s.Logical]
		return scalar{goType: "time.Time", use: "time", append: name, read: strings.TrimPrefix(name, "Local"), fallible: true}, true
	}
	goType, ok := primitives[s.Type]
	name := title(s.Type.String())
	return scalar{goType: goType, append: name, read: name, fallible: s.Type == schemas.String}, ok
}

var primitives = map[schemas.Type]string{
	schemas.Boolean: "bool", schemas.Int: "int32", schemas.Long: "int64", schemas.Float: "float32",
	schemas.Double: "float64", schemas.Bytes: "[]byte", schemas.String: "string",
}

// goType returns the Go type of s, and imports what it needs.
func (p *plan) goType(src *source, s *schemas.Schema) string {
	if sc, ok := scalarOf(s); ok {
		if sc.use != "" {
			src.use(sc.use)
		}
		return sc.goType
	}
	switch s.Type {
	case schemas.Array:
		return "[]" + p.goType(src, s.Items)
	case schemas.Map:
		return "map[string]" + p.goType(src, s.Items)
	case schemas.Union:
		if u := p.unions[s]; u != nil {
			return u.name
		}
		if len(s.Branches) == 1 {
			return p.goType(src, s.Branches[0])
		}
		other, _, _ := nullable(s)
		if nilable(other) {
			return p.goType(src, other)
		}
		return "*" + p.goType(src, other)
	case schemas.Fixed:
		if s.Logical == schemas.UUID {
			src.use(uuidPath)
			return "uuid.UUID"
		}
		return p.goName(s)
	case schemas.Null:
		return "struct{}"
	}
	return p.goName(s)
}

// note says what a Go type does not about its values; "" when there is nothing.
func note(s *schemas.Schema) string {
	units := map[schemas.Logical]string{
		schemas.TimeMillis: "milliseconds", schemas.TimestampMillis: "milliseconds", schemas.LocalTimestampMillis: "milliseconds",
		schemas.TimeMicros: "microseconds", schemas.TimestampMicros: "microseconds", schemas.LocalTimestampMicros: "microseconds",
		schemas.TimestampNanos: "nanoseconds", schemas.LocalTimestampNanos: "nanoseconds",
	}
	switch s.Logical {
	case schemas.Decimal:
		return fmt.Sprintf("At most %d digits, %d of them after the point.", s.Precision, s.Scale)
	case schemas.Date:
		return "A calendar day, as the time's own location shows it."
	case schemas.TimeMillis, schemas.TimeMicros:
		return "A time of day since midnight, in " + units[s.Logical] + "; what is finer is cut off."
	case schemas.TimestampMillis, schemas.TimestampMicros, schemas.TimestampNanos:
		return "In " + units[s.Logical] + "; what is finer is cut off."
	case schemas.LocalTimestampMillis, schemas.LocalTimestampMicros, schemas.LocalTimestampNanos:
		return "Date and time of day, as the time's own location shows them, in " + units[s.Logical] + "; what is finer is cut off."
	}
	if other, _, ok := nullable(s); ok {
		return strings.TrimSpace(note(other) + " Nil is null.")
	}
	if s.Type == schemas.Array || s.Type == schemas.Map {
		inner := note(s.Items)
		if of, found := strings.CutSuffix(inner, "Nil is null."); found {
			inner = of + "A nil item is null."
		}
		return inner
	}
	if s.Type == schemas.Union && len(s.Branches) == 1 {
		return note(s.Branches[0])
	}
	return ""
}

// deprecated returns the paragraph of what Schema.Deprecated or Field.Deprecated says.
func deprecated(why string, is bool) string {
	switch {
	case !is:
		return ""
	case why == "":
		why = "it is marked so in the catalog."
	}
	return "\n\nDeprecated: " + why
}

// lineLength is where comments are broken, in bytes.
const lineLength = 100

// comment writes text as a comment of whole lines.
func (s *source) comment(text string) {
	text = strings.Map(func(c rune) rune {
		if c == utf8.RuneError || c == '\uFEFF' || c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			return -1 // what Go source may not hold, or a terminal should not see
		}
		return c
	}, strings.ReplaceAll(text, "\r\n", "\n"))
	blank := true // swallows blank lines at the start and after another
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimSpace(line)
		if line == "" {
			if !blank {
				s.p("//")
			}
			blank = true
			continue
		}
		blank = false
		if strings.HasPrefix(line, "+build") {
			line = "+ build" + line[len("+build"):] // go vet takes it for a misplaced constraint
		}
		for len(line) > lineLength {
			cut := strings.LastIndexByte(line[:lineLength], ' ')
			if cut <= 0 {
				break // no place to break, as in an address
			}
			s.p("// %s", line[:cut])
			line = strings.TrimSpace(line[cut:])
		}
		s.p("// %s", line)
	}
}

// sentence joins a doc and a note with the space and full stop they need.
func sentence(doc, note string) string {
	doc = strings.TrimSpace(doc)
	if doc == "" || note == "" {
		return doc + note
	}
	if !strings.ContainsAny(doc[len(doc)-1:], ".!?:;") {
		doc += "."
	}
	return doc + " " + note
}
