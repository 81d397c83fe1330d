package schemas

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

const compatDocument = "../docs/compatibility.md"

// exampleOf names a pair of the corpus for each rule.
var exampleOf = map[*Rule]string{
	ruleTypeMismatch:    "an identifier from number to text",
	ruleNameMismatch:    "a record inside is renamed",
	ruleFixedSize:       "a fixed in a record, longer",
	ruleFieldMissing:    "a nullable field without default",
	ruleSymbolUnknown:   "the default of a field does not stand in for the enum's",
	ruleBranchMissing:   "a default does not make a nullable field fit one that is not",
	ruleDecimalChanged:  "another scale in a nullable field",
	ruleUnitChanged:     "units changed in a nullable field",
	ruleNarrowed:        "a text becomes a uuid inside arrays",
	rulePrecisionLost:   "long identifier becomes double",
	ruleMeaningChanged:  "a timestamp becomes local",
	ruleBranchAmbiguous: "a long among double and long",
	ruleFieldAmbiguous:  "a field written under both names, while it is renamed",
}

// others are those whose opinions are compared, in the order of the columns.
var others = []struct{ name, note string }{
	{"Avro's Java checker", "`SchemaCompatibility`, 1.12.1"},
	{"Avro's Java decoder", "`GenericDatumReader`, 1.12.1, on values that take every way through the writer's schema"},
	{"Pulsar", "the registry of 4.0.8 under `BACKWARD`; it carries Avro 1.11.4"},
	{"twmb", "`Resolve` of github.com/twmb/avro v1.9.0"},
	{"hamba", "`Compatible` of github.com/hamba/avro/v2 v2.31.0, a new one for each pair"},
}

// The versions that the document names are those that are asked.
func TestOthersVersions(t *testing.T) {
	text, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range others {
		for _, m := range regexp.MustCompile(`github\.com/\S+ v[0-9.]+`).FindAllString(o.note, -1) {
			if !strings.Contains(string(text), m+"\n") {
				t.Errorf("go.mod has another version than %s: look whether knownErrors and the causes in this file still hold", m)
			}
		}
	}
}

// The document is what the rules, the corpus and the opinions make of it.
// UPDATE_GOLDEN=1 writes it.
func TestCompatibilityDocument(t *testing.T) {
	text, err := os.ReadFile(compatDocument)
	if err != nil {
		t.Fatal(err)
	}
	pairs := readCorpus(t)
	want := section(t, string(text), "rules", rulesText(t, pairs))
	want = section(t, want, "differences", differencesText(t, pairs))
	if want == string(text) {
		return
	}
	if os.Getenv("UPDATE_GOLDEN") == "" {
		t.Fatalf("%s is not current; if the change is meant, run with UPDATE_GOLDEN=1", compatDocument)
	}
	if err := os.WriteFile(compatDocument, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// section replaces what stands between two comments.
func section(t *testing.T, text, name, body string) string {
	t.Helper()
	before, rest, found := strings.Cut(text, "<!-- "+name+":")
	comment, rest, closed := strings.Cut(rest, "-->\n")
	_, after, ended := strings.Cut(rest, "<!-- end -->")
	if !found || !closed || !ended {
		t.Fatalf("%s has no section %s", compatDocument, name)
	}
	return before + "<!-- " + name + ":" + comment + "-->\n" + body + "<!-- end -->" + after
}

func rulesText(t *testing.T, pairs []corpusPair) string {
	t.Helper()
	var b strings.Builder
	for _, rule := range CompatRules {
		fmt.Fprintf(&b, "\n### %s\n\n%s *%s; %s.*\n\n", rule.ID, rule.Summary, rule.Severity, sectionText(rule.Section))
		fmt.Fprintf(&b, "What breaks: %s\n\nWhat to do: %s\n", rule.Breaks, rule.Fix)
		example := exampleOf[rule]
		if example == "" {
			if rule != ruleTooLarge {
				t.Errorf("%s has no example", rule.ID)
			}
			continue
		}
		for _, p := range pairs {
			if p.name == example {
				fmt.Fprintf(&b, "\n```text\n%s```\n", exampleText(t, p, rule))
			}
		}
	}
	return b.String() + "\n"
}

func sectionText(section string) string {
	if section == sectionRunnel {
		return "a rule of Runnel's own"
	}
	return "Avro 1.12, " + section
}

func exampleText(t *testing.T, p corpusPair, rule *Rule) string {
	t.Helper()
	reader, writer := p.parse(t)
	text := fmt.Sprintf("reader  %s\nwriter  %s\n", strings.ReplaceAll(p.reader, "\n", ""), strings.ReplaceAll(p.writer, "\n", ""))
	findings := Compatibility(reader, writer)
	for _, f := range findings {
		if f.Rule == rule {
			text += fmt.Sprintf("        %s\n      → %s\n", f, f.Fix)
		}
	}
	if !hasRule(findings, rule) {
		t.Errorf("%s is no example of %s", p.where(), rule.ID)
	}
	return text
}

// tally counts on how many pairs one differs.
type tally struct{ differs, lax, strict int }

func differencesText(t *testing.T, pairs []corpusPair) string {
	t.Helper()
	java, pulsar := readOpinions(t, "java", pairs), readOpinions(t, "pulsar", pairs)
	if t.Failed() {
		t.FailNow()
	}
	tallies := make([]tally, len(others))
	var table strings.Builder
	allowed, own, rows := 0, 0, 0 // pairs
	for _, p := range pairs {
		reader, writer := p.parse(t)
		findings := Compatibility(reader, writer)
		spec := bySpecification(findings)
		if spec == saysCompatible {
			allowed++
			if Incompatible(findings) {
				own++
			}
		}
		twmb, _ := opinionOfTwmb(p.reader, p.writer)
		hamba, _ := opinionOfHamba(p.reader, p.writer)
		row, some := "", false
		for i, o := range []opinion{java[p.name][0], java[p.name][1], pulsar[p.name][0], twmb, hamba} {
			if !o.differs(spec) {
				row += " |"
				continue
			}
			some = true
			row += " " + string(o) + " |"
			if tallies[i].differs++; o == saysCompatible {
				tallies[i].lax++
			} else {
				tallies[i].strict++
			}
		}
		if some && spec == saysCompatible && Incompatible(findings) {
			t.Errorf("%s: the document says that nobody else refuses it", p.where())
		}
		if some {
			rows++
			fmt.Fprintf(&table, "| %s: %s | %s |%s\n", strings.TrimSuffix(p.file, ".txt"), p.name, spec, row)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nOf the %d pairs of the corpus, %d are compatible by the specification and %d are not.\n\n", len(pairs), allowed, len(pairs)-allowed)
	b.WriteString("| | what was asked | differs | says compatible, and is not | refuses what is compatible |\n|---|---|---|---|---|\n")
	for i, o := range others {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d |\n", o.name, o.note, tallies[i].differs, tallies[i].lax, tallies[i].strict)
	}
	fmt.Fprintf(&b, "\n%s\n", strings.TrimSpace(strings.ReplaceAll(causesText, "OWN", fmt.Sprint(own))))
	fmt.Fprintf(&b, "\nAll %d pairs on which one of them differs; an empty cell agrees with the specification:\n\n", rows)
	b.WriteString("| pair | by the specification |")
	for _, o := range others {
		b.WriteString(" " + o.name + " |")
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(others)) + "\n" + table.String() + "\n")
	return b.String()
}

const causesText = `
Why they differ:

- **Avro's Java checker** does not compare precision and scale of decimals. It takes any branch of a reader's union that
  fits, not the first that matches. It refuses a field that the writer has under several of the reader's names, and aliases
  that are no names.
- **Avro's Java decoder** takes a record of another name when its fields fit, and looks at the aliases of fields only where
  it has found the type by its full name. Of a fixed in a union it wants the full name.
- **Pulsar's registry** judges by what that decoder, of Avro 1.11, plans before it has seen any data, and symbols of enums
  are looked at no earlier than that: an unknown symbol passes, as a renamed record does. A default of a later branch, and a
  field under several names, end in an error instead of an answer.
- **twmb** takes a union that begins with null for its own default, and an alias of a type without regard to its namespace.
  It refuses decimals whose precision and scale do not go together, instead of ignoring them, and finds out too late that
  two decimals of a union differ.
- **hamba** does not compare decimals. Of a field's name and aliases it takes what the writer has first. It tries every
  branch of a reader's union, and refuses a default of a later one. What the table cannot show: its decoder overflows the
  stack on recursive types, refuses a union whose branches become one type, and keeps verdicts and decoders by a fingerprint
  that does not see defaults.

Nobody but Runnel refuses the OWN pairs that resolve and change their unit.
`
