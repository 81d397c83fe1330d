package schemas

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// Severity says whether a finding makes schemas incompatible.
type Severity uint8

// The severities.
const (
	Warning Severity = iota + 1 // the data can be read, but not always, or not as it was meant
	Error                       // some data cannot be read
)

// String returns "warning" or "error".
func (s Severity) String() string {
	switch s {
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return "invalid"
}

// Rule is one way in which a writer's schema may not suit a reader's. Rules are
// declared in this package, see CompatRules; their IDs never change.
type Rule struct {
	ID       string // SCREAMING_SNAKE
	Section  string // of the Avro 1.12 specification, or "Runnel" for a rule of our own
	Severity Severity
	Summary  string // one sentence, with a full stop: what was found
	Breaks   string // sentences: what happens to whom
	Fix      string // sentences: what to do
}

// Finding is one place at which a writer's schema does not suit a reader's.
type Finding struct {
	Rule *Rule
	// Path leads to the place inside the reader's schema: $ is the whole, .name a
	// field, [] the items of an array, {} the values of a map, (Name) a branch of a
	// union. In the middle of a very long one, … stands for what is left out.
	Path string
	// Also are other paths to the same pair of types, where a type is used at
	// several places; at most 5.
	Also []string
	// Type is the full name of the innermost named type around the place, or of the
	// one that is there; "" when there is none.
	Type           string
	Reader, Writer Pos    // the places in the files
	Message        string // with the names and values at hand
	Fix            string // more exact than the rule's, or the same
}

// MarshalJSON writes a finding as one flat object: rule, severity, section, path,
// also, type, reader, writer, message, breaks and fix, all of them strings but
// also, a list.
func (f Finding) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Rule     string   `json:"rule"`
		Severity string   `json:"severity"`
		Section  string   `json:"section"`
		Path     string   `json:"path"`
		Also     []string `json:"also,omitempty"`
		Type     string   `json:"type"`
		Reader   string   `json:"reader"`
		Writer   string   `json:"writer"`
		Message  string   `json:"message"`
		Breaks   string   `json:"breaks"`
		Fix      string   `json:"fix"`
	}{
		f.Rule.ID, f.Rule.Severity.String(), f.Rule.Section, f.Path, f.Also, f.Type,
		f.Reader.String(), f.Writer.String(), f.Message, f.Rule.Breaks, f.Fix,
	})
}

// String returns `path: message`.
func (f Finding) String() string { return f.Path + ": " + f.Message }

// Compatibility judges by the Avro 1.12 specification, section "Schema
// Resolution", whether every datum of the writer's schema can be read under the
// reader's, and adds rules of Runnel's own for what can be read and would be
// wrong. Both must come from this package's parser. The findings are complete,
// but for more than 10,000 of one severity, and sorted by path; Incompatible tells
// whether one of them is an error. A schema that reads its own data has none.
//
// Where the specification leaves room:
//   - Of a reader's union, the branch of the very same type and full name (or with
//     that name as an alias) is taken before one that matches by promotion or
//     unqualified name only, as Avro's Java library does: a long must not become a
//     double because that branch comes first. Where the letter of the specification
//     says otherwise, BRANCH_AMBIGUOUS warns.
//   - Aliases of the reader are applied. Those of a type are full names.
//   - A union of the writer must fit as a whole, not only the values met.
//
// Types are compared pairwise, each pair once, so that recursive types end; the
// stack does not grow with the schemas. More than a million comparisons, which
// takes schemas made for it, end with the error COMPARISON_TOO_LARGE.
//
// Resolver reads data exactly where there is no error; of what VALUES_NARROWED
// warns of, it refuses the values that do not fit. Neither schema is changed, and
// calls may run at the same time.
func Compatibility(reader, writer *Schema) []Finding {
	c := newChecker()
	c.run(reader, writer)
	return c.sorted()
}

// sorted returns all findings by path.
func (c *checker) sorted() []Finding {
	findings := c.all()
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Rule.ID, b.Rule.ID), strings.Compare(a.Message, b.Message))
	})
	return findings
}

// Incompatible reports whether one of the findings is an error.
func Incompatible(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Rule.Severity == Error })
}
