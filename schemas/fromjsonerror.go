package schemas

import (
	"fmt"
	"strings"

	"github.com/runnel-cdc/runnel/internal/nearest"
)

// badValue is why a JSON value does not fit. Sentences are made only at the end:
// trying the branches of a union fails often.
type badValue uint8

const (
	badType badValue = iota + 1
	badText
	badRange
	badWhole
	badDecimal
	badLatin1
	badSymbolName
	badMissing
	badUnknown
	badTwice
	badNesting
	badAmbiguous
)

// failure is a failure put aside.
type failure struct {
	reason badValue
	at     int32
	schema *Schema
	field  *Field
	path   []jsonStep
}

func (e *jsonEncoder) failure() failure {
	return failure{e.reason, e.at, e.schema, e.field, append([]jsonStep(nil), e.path...)}
}

func (e *jsonEncoder) restore(f failure) bool {
	e.reason, e.at, e.schema, e.field, e.path = f.reason, f.at, f.schema, f.field, append(e.path[:0], f.path...)
	return false
}

func (e *jsonEncoder) error() error {
	steps := make([]step, 0, len(e.path))
	for _, p := range e.path {
		s := step{index: p.index}
		if p.key != 0 {
			s = step{name: e.tape.text(p.key), index: stepKey}
			if validName(s.name) {
				s.index = stepField
			}
		}
		steps = append(steps, s)
	}
	f := ErrInvalidJSON.New("%s: %s", pathText(steps), e.explain())
	if e.reason == badUnknown {
		var names []string
		for _, field := range e.schema.Fields {
			names = append(names, field.Name)
		}
		if near := nearest.Of(e.tape.text(e.at), names); near != "" {
			return f.Fix("Did you mean %q?", near)
		}
	}
	return f
}

func (e *jsonEncoder) explain() string {
	s := e.schema
	switch e.reason {
	case badMissing:
		return fmt.Sprintf("the field %q is missing, expected %s", e.field.Name, e.field.Type.expected())
	case badUnknown:
		return fmt.Sprintf("%s has no field %q", s.FullName(), clip(e.tape.text(e.at)))
	case badTwice:
		return fmt.Sprintf("the key %q is given twice", clip(e.tape.text(e.at)))
	case badSymbolName:
		return fmt.Sprintf("%q is not a symbol of %s, expected %s", clip(e.tape.text(e.at)), s.FullName(), clip(strings.Join(s.Symbols, ", ")))
	case badNesting:
		return fmt.Sprintf("nested more than %d deep", maxDataDepth)
	case badAmbiguous:
		return "the nested unions take too many tries; name the branches: {\"<type>\": value}"
	}
	text := fmt.Sprintf("expected %s, found %s", s.expected(), e.found())
	switch e.reason {
	case badRange:
		text += ", out of range"
	case badWhole:
		text += ", not a whole number in range"
	case badDecimal:
		text += ", more digits than the type holds"
	case badLatin1:
		text += ", with a character above U+00FF"
	}
	return text
}

// found shows the value in short.
func (e *jsonEncoder) found() string {
	k := e.tape.toks[e.at]
	switch k.kind {
	case tokNumber, tokTrue, tokFalse:
		return clip(string(e.tape.raw(e.at)))
	case tokString:
		if e.reason != badType {
			return "the string " + clip(string(appendQuoted(nil, e.tape.text(e.at))))
		}
	}
	return k.kind.String()
}

// clip shortens text for a message.
func clip(text string) string {
	const most = 60
	n := 0
	for i := range text {
		if n++; n > most {
			return text[:i] + "..."
		}
	}
	return text
}

// expected says what JSON the type takes.
func (s *Schema) expected() string {
	what := s.describe()
	switch {
	case s.Type == Union:
		names := make([]string, len(s.Branches))
		for i, b := range s.Branches {
			names[i] = b.FullName()
		}
		if len(names) == 1 {
			return names[0]
		}
		return "one of " + strings.Join(names, ", ")
	case s.Logical == Decimal:
		return fmt.Sprintf("decimal(%d,%d)", s.Precision, s.Scale)
	case s.Logical == Date:
		return what + " as \"YYYY-MM-DD\" or a number of days"
	case s.Logical.isTimeOfDay():
		return what + " as \"HH:MM:SS.fraction\" or a number"
	case s.Logical.isLocal():
		return what + " as RFC 3339 without a zone, or a number"
	case s.Logical.unitsPerSecond() > 0:
		return what + " as RFC 3339 with a zone, or a number"
	case s.Logical == Duration:
		return what + " as {\"months\", \"days\", \"millis\"}"
	}
	return what
}
