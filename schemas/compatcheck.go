package schemas

import (
	"fmt"
	"strings"

	"github.com/runnel-cdc/runnel/internal/nearest"
)

const (
	maxFindings  = 10000 // of each severity
	maxNamesSaid = 10    // symbols in one message
)

// checker compares a reader's types with a writer's, breadth first.
//
// Invariants: each pair of types that can recur (a named type, or one with types
// inside) is compared once, whatever its verdict: so nothing is assumed of a pair
// that is still being compared, and recursion ends. Pairs are told apart by the
// *Schema, never by a fingerprint, which does not see defaults and aliases.
type checker struct {
	matcher
	pairs    map[[2]*Schema]*pair
	queue    []*pair
	found    []found
	count    [Error + 1]int // findings by severity
	alsoWork int
}

// found is a finding whose places are not written yet: more of them may be met.
type found struct {
	Finding
	at site
}

// pair is a type of the reader with one of the writer whose values it has to take.
type pair struct {
	r, w *Schema
	uses []use // where it is met, the first by one of the shortest ways; at most maxUses
	on   bool  // the path being written, see paths
}

// use is how a pair is met inside another.
type use struct {
	in     *pair // nil at the root
	kind   useKind
	r, w   *Field  // useField
	branch *Schema // useBranch: of the reader's union
}

type useKind uint8

const (
	useRoot useKind = iota
	useField
	useItems
	useValues
	useBranch
	useWriterBranch // of a union of the writer: no step in the reader
)

// site is where a finding is: a pair; or a plain type, or a field, which is met
// once in each pair.
type site struct {
	r, w *Schema
	pair *pair // or nil
	use  use   // of what is no pair
}

func (s site) uses() []use {
	if s.pair != nil {
		return s.pair.uses
	}
	return []use{s.use}
}

func newChecker() *checker {
	return &checker{matcher: newMatcher(), pairs: make(map[[2]*Schema]*pair)}
}

func (c *checker) run(r, w *Schema) {
	c.meet(use{}, r, w)
	for len(c.queue) > 0 && c.work <= maxCompatWork {
		p := c.queue[0]
		c.queue = c.queue[1:]
		c.compare(site{r: p.r, w: p.w, pair: p})
	}
	if c.work > maxCompatWork {
		c.report(ruleTooLarge, site{r: r, w: w}, "", "comparing %s with %s takes more than %d steps", r.FullName(), w.FullName(), maxCompatWork)
	}
}

// meet has r compared with w, once.
func (c *checker) meet(u use, r, w *Schema) {
	c.work++
	if r.isPlain() && w.isPlain() {
		c.compare(site{r: r, w: w, use: u})
		return
	}
	key := [2]*Schema{r, w}
	p := c.pairs[key]
	if p == nil {
		p = &pair{r: r, w: w}
		c.pairs[key] = p
		c.queue = append(c.queue, p)
	}
	if len(p.uses) < maxUses {
		p.uses = append(p.uses, u)
	}
}

// isPlain reports whether s has neither a name nor types inside.
func (s *Schema) isPlain() bool { return s.Name == "" && s.Items == nil && s.Type != Union }

// compare looks at one place and has those inside of it met.
func (c *checker) compare(at site) {
	switch r, w := at.r, at.w; {
	case w.Type == Union:
		c.writerUnion(at)
	case r.Type == Union:
		c.readerUnion(at, w, false)
	case r.Type != w.Type && !promotable(w.Type, r.Type):
		c.report(ruleTypeMismatch, at, c.typeFix(r, w), "the writer has %s, the reader %s", w.describe(), r.describe())
	case r.Type == w.Type && !c.matchesName(r, w):
		c.report(ruleNameMismatch, at, fmt.Sprintf("Keep the name %s; or, if it is the same type renamed, add \"aliases\": [%q] to the reader's.", w.FullName(), w.FullName()),
			"the writer has %s, the reader %s", w.describe(), r.describe())
	case r.Size != w.Size:
		c.report(ruleFixedSize, at, fmt.Sprintf("Keep the size %d, or add a field with a fixed of another name.", w.Size),
			"%s has %d bytes at the writer, %d at the reader", r.FullName(), w.Size, r.Size)
	default:
		c.inside(at)
		if r.Type == Enum {
			c.symbols(at)
		}
		c.values(at)
	}
}

// writerUnion looks for a place for every branch.
func (c *checker) writerUnion(at site) {
	r, w := at.r, at.w
	same := r.Type == Union // the branches so far are the same for both
	for i, b := range w.Branches {
		if r.Type == Union {
			same = same && i < len(r.Branches) && r.Branches[i].Type == b.Type && r.Branches[i].FullName() == b.FullName()
			c.readerUnion(at, b, same)
			continue
		}
		if c.matches(r, b) || b.Type == r.Type && c.matchesName(r, b) {
			c.meet(use{in: at.pair, kind: useWriterBranch}, r, b)
			continue
		}
		fix := fmt.Sprintf("Make the reader's type a union that has %s, too.", b.FullName())
		if promotable(r.Type, b.Type) { // it was widened by way of a union
			fix += fmt.Sprintf(" Or read %s.", b.FullName())
		}
		c.report(ruleBranchMissing, at, fix, "the writer has %s, a branch of its union; the reader has %s, which does not take it", b.describe(), r.describe())
	}
}

// readerUnion finds the branch for w, which is no union. As long as the writer's
// union has the very same branches in the same places, none is ambiguous: a
// schema is not reproached with reading its own data.
func (c *checker) readerUnion(at site, w *Schema, same bool) {
	r := at.r
	best, first := c.branchFor(r, w)
	if best < 0 {
		if best = c.nearBranch(r, w); best < 0 {
			c.report(ruleBranchMissing, at, fmt.Sprintf("Add %s to the reader's union; branches may be added, not removed.", w.FullName()),
				"no branch of the reader's union takes %s", w.describe())
			return
		}
	} else if best != first && !same {
		b := r.Branches[first]
		c.report(ruleBranchAmbiguous, at, fmt.Sprintf("Put %s before %s in the reader's union.", r.Branches[best].FullName(), b.FullName()),
			"for %s the reader's union has %s, and before it %s, which the letter of the specification takes", w.describe(), r.Branches[best].FullName(), b.describe())
	}
	c.meet(use{in: at.pair, kind: useBranch, branch: r.Branches[best]}, r.Branches[best], w)
}

// inside has the types inside of two that match met.
func (c *checker) inside(at site) {
	r, w := at.r, at.w
	switch r.Type {
	case Array:
		c.meet(use{in: at.pair, kind: useItems}, r.Items, w.Items)
	case Map:
		c.meet(use{in: at.pair, kind: useValues}, r.Items, w.Items)
	case Record:
		for _, f := range r.Fields {
			c.work += 1 + len(f.Aliases)
			from, other := w.fieldsFor(f)
			if from >= 0 {
				c.meet(use{in: at.pair, kind: useField, r: f, w: w.Fields[from]}, f.Type, w.Fields[from].Type)
			}
			switch {
			case other >= 0:
				name, also := w.Fields[from].Name, w.Fields[other].Name
				c.report(ruleFieldAmbiguous, site{r: r, w: w, use: use{in: at.pair, kind: useField, r: f, w: w.Fields[from]}},
					fmt.Sprintf("Remove the alias %q, once no data is read that has it without %q.", also, name),
					"the writer has %q and %q, and both are meant; %q is taken", name, also, name)
			case from < 0 && f.Default == nil:
				c.report(ruleFieldMissing, site{r: r, w: w, use: use{in: at.pair, kind: useField, r: f}}, fieldFix(r, w, f),
					"the writer does not have the field, and the reader has no default for it")
			}
		}
	}
}

// symbols looks for each symbol of the writer's enum.
func (c *checker) symbols(at site) {
	var unknown []string
	for _, symbol := range at.w.Symbols {
		c.work++
		if _, known := at.r.symbolFor(symbol); !known {
			unknown = append(unknown, symbol)
		}
	}
	if len(unknown) == 0 {
		return
	}
	what, fix := "symbol ", fmt.Sprintf("Add it to the reader's enum, or give that enum a \"default\", such as %q.", at.r.Symbols[0])
	if len(unknown) > 1 {
		what, fix = "symbols ", strings.Replace(fix, "it", "them", 1)
	}
	c.report(ruleSymbolUnknown, at, fix, "the reader's %s has neither the %s nor a default", at.r.FullName(), what+quotedList(unknown))
}

// values compares what values of two types that match mean, and whether they fit.
func (c *checker) values(at site) {
	r, w := at.r, at.w
	if rounds(r.Type, w.Type) {
		c.report(rulePrecisionLost, at, "", "%s becomes %s, which rounds %s", w.describe(), r.describe(),
			map[Type]string{Float: "beyond 2^24 (16,777,216)", Double: "beyond 2^53 (9,007,199,254,740,992)"}[r.Type])
	}
	switch {
	case decimalChanged(r, w):
		c.report(ruleDecimalChanged, at, fmt.Sprintf("Keep decimal(%d,%d), or add a field with the new one.", w.Precision, w.Scale),
			"the writer has decimal(%d,%d), the reader decimal(%d,%d)", w.Precision, w.Scale, r.Precision, r.Scale)
		return
	case unitChanged(r, w):
		c.report(ruleUnitChanged, at, fmt.Sprintf("Keep %s, or add a field of another name with %s.", w.Logical, r.Logical),
			"the writer has %s, the reader %s, and the number would be kept", w.Logical, r.Logical)
		return
	case meaningChanged(r, w):
		c.report(ruleMeaningChanged, at, fmt.Sprintf("Keep %s, or add a field of another name with %s.", w.Logical, r.Logical),
			"the writer has %s, the reader %s, by the same value", w.Logical, r.Logical)
	}
	if narrows(r, w) {
		c.report(ruleNarrowed, at, "", "not every %s is %s", w.describe(), r.valueText())
	}
}

// valueText says what a value of a narrow type is.
func (s *Schema) valueText() string {
	switch {
	case s.Logical == UUID:
		return "the text of a uuid"
	case s.Logical == Decimal:
		return fmt.Sprintf("a decimal of at most %d digits", s.Precision)
	case s.Logical.isTimeOfDay():
		return "a time of day"
	}
	return "UTF-8"
}

// typeFix says how to mend two types that do not match, where it can be said.
func (c *checker) typeFix(r, w *Schema) string {
	switch {
	case promotable(r.Type, w.Type):
		return fmt.Sprintf("Keep %s: it is read from %s, not the other way round. Else add a field of another name.", w.Type, r.Type)
	case r.Type == Array && c.matches(r.Items, w), r.Type == Map && c.matches(r.Items, w):
		return fmt.Sprintf("Keep %s, and add a field of another name for the %s.", w.FullName(), r.Type)
	}
	return ""
}

// fieldFix suggests what the writer's field may have been called.
func fieldFix(r, w *Schema, f *Field) string {
	var gone []string
	if len(w.Fields) <= 200 {
		for _, g := range w.Fields {
			if _, ok := r.index[g.Name]; !ok {
				gone = append(gone, g.Name)
			}
		}
	}
	fix := "Give it a \"default\" in the reader."
	if f.Type.Type == Union && f.Type.Branches[0].Type == Null {
		fix = "Give it \"default\": null in the reader: the union by itself is no default."
	}
	old := nearest.Within(max(1, len(f.Name)/2), f.Name, gone)
	if old == "" && len(gone) == 1 {
		old = gone[0]
	}
	if old != "" {
		fix += fmt.Sprintf(" Or, if it is %q renamed, add \"aliases\": [%q].", old, old)
	}
	return fix
}

func quotedList(names []string) string {
	var b strings.Builder
	for i, name := range names[:min(len(names), maxNamesSaid)] {
		if i > 0 {
			b.WriteString(", ")
		}
		b.Write(appendQuoted(nil, name))
	}
	if more := len(names) - maxNamesSaid; more > 0 {
		fmt.Fprintf(&b, " and %d more", more)
	}
	return b.String()
}

// report adds a finding; fix replaces the rule's where it is not empty.
func (c *checker) report(rule *Rule, at site, fix, format string, args ...any) {
	if c.count[rule.Severity]++; c.count[rule.Severity] > maxFindings {
		return
	}
	if fix == "" {
		fix = rule.Fix
	}
	c.found = append(c.found, found{Finding{Rule: rule, Message: fmt.Sprintf(format, args...), Fix: fix}, at})
}

// all returns what was found, with its places.
func (c *checker) all() []Finding {
	out := make([]Finding, 0, len(c.found))
	for _, f := range c.found {
		f.Path, f.Also = c.paths(f.at)
		f.Type = f.at.enclosing()
		f.Reader, f.Writer = f.at.position(f.Rule, true), f.at.position(f.Rule, false)
		out = append(out, f.Finding)
	}
	return out
}
