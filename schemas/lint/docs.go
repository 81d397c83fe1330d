package lint

import (
	"slices"
	"strings"
	"unicode"

	"github.com/runnel-cdc/runnel/schemas"
)

func typeWithoutDoc(l *linter, s *schemas.Schema) {
	if strings.TrimSpace(s.Doc) != "" {
		return
	}
	_, isEvent := s.Aggregate()
	switch {
	case isEvent:
		l.atType(s, `Add "doc": "...": what has happened, and when it is published.`, "is an event without a doc")
	case s.Type == schemas.Enum:
		l.atType(s, `Add "doc": "...": what the symbols tell, and what each means.`, "is an enum without a doc")
	default:
		l.atType(s, `Add "doc": "...": what it stands for.`, "is %s without a doc", article(s.Type))
	}
}

func fieldWithoutDoc(l *linter, s *schemas.Schema, f *schemas.Field) {
	if strings.TrimSpace(f.Doc) != "" {
		return
	}
	inner := ""
	unnamed(f.Type, func(x *schemas.Schema) {
		if inner == "" {
			inner = x.Doc
		}
	})
	if inner != "" {
		l.atField(s, f, `Put the "doc" beside the type: libraries drop it there.`, "has its doc inside its type")
		return
	}
	about := "what it is, its unit or format"
	if f.Type.Type == schemas.Union && slices.ContainsFunc(f.Type.Branches, func(b *schemas.Schema) bool { return b.Type == schemas.Null }) {
		about += ", when it is null"
	}
	l.atField(s, f, `Add "doc": "...": `+about+".", "has no doc")
}

func typeDocRepeatsName(l *linter, s *schemas.Schema) {
	if repeats(s.Doc, s.Name) {
		l.atType(s, "Say in the doc what the name does not.", "has a doc that says no more than its name: %q", shortened(s.Doc))
	}
}

func fieldDocRepeatsName(l *linter, s *schemas.Schema, f *schemas.Field) {
	if repeats(f.Doc, f.Name) {
		l.atField(s, f, "Say in the doc what the name does not.", "has a doc that says no more than its name: %q", shortened(f.Doc))
	}
}

var articles = set("a an the its this of field record event enum type")

// repeats reports whether a doc holds the words of the name alone.
func repeats(doc, name string) bool {
	var said []string
	for _, part := range strings.FieldsFunc(doc, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		for _, w := range lower(part) {
			if !articles[w] {
				said = append(said, w)
			}
		}
	}
	named := slices.DeleteFunc(lower(name), func(w string) bool { return articles[w] })
	return len(said) > 0 && slices.Equal(said, named)
}
