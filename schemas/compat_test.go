package schemas

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// corpusPair is one pair of testdata/compat, whose README says how it is written.
type corpusPair struct {
	file, name, cite string
	line             int
	reader, writer   string
	compatible       bool
	want             []string // "RULE path", sorted
}

func (p corpusPair) where() string { return fmt.Sprintf("%s:%d: %s", p.file, p.line, p.name) }

var corpusKey = regexp.MustCompile(`^(pair|cite|reader|writer|want|swapped): *(.*)$`)

// readCorpus reads all files of testdata/compat. A pair with `swapped` counts as
// two.
func readCorpus(t testing.TB) []corpusPair {
	t.Helper()
	files, err := filepath.Glob("testdata/compat/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus: ", err)
	}
	var all []corpusPair
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, readPairs(t, filepath.Base(file), string(text))...)
	}
	return all
}

func readPairs(t testing.TB, file, text string) []corpusPair {
	t.Helper()
	var all []corpusPair
	parts, begun, key := map[string]string{}, 0, ""
	flush := func() {
		if begun == 0 {
			return
		}
		p := corpusPair{file: file, line: begun, name: parts["pair"], cite: parts["cite"], reader: parts["reader"], writer: parts["writer"]}
		for _, need := range []string{"pair", "cite", "reader", "writer", "want"} {
			if parts[need] == "" {
				t.Fatalf("%s has no %s", p.where(), need)
			}
		}
		p.expect(t, parts["want"])
		all = append(all, p)
		if swapped := parts["swapped"]; swapped != "" {
			p.name += ", swapped"
			p.reader, p.writer = p.writer, p.reader
			p.expect(t, swapped)
			all = append(all, p)
		}
	}
	for i, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		m := corpusKey.FindStringSubmatch(line)
		switch {
		case m == nil && strings.HasPrefix(line, " ") && key != "":
			parts[key] = strings.TrimSpace(parts[key] + "\n" + strings.TrimSpace(line))
			continue
		case m == nil:
			t.Fatalf("%s:%d: %q is neither a key nor indented", file, i+1, line)
		}
		if key = m[1]; key == "pair" {
			flush()
			parts, begun = map[string]string{}, i+1
		}
		if _, twice := parts[key]; twice {
			t.Fatalf("%s:%d: %s is given twice", file, i+1, key)
		}
		parts[key] = m[2]
	}
	flush()
	return all
}

// expect reads a verdict: its first word, then a rule and a path a line.
func (p *corpusPair) expect(t testing.TB, text string) {
	t.Helper()
	lines := strings.Split(text, "\n")
	if p.compatible = lines[0] == "compatible"; !p.compatible && lines[0] != "incompatible" {
		t.Fatalf("%s: the verdict is %q", p.where(), lines[0])
	}
	p.want = slices.Clone(lines[1:])
	slices.Sort(p.want)
}

func (p corpusPair) parse(t testing.TB) (reader, writer *Schema) {
	t.Helper()
	reader, err := Parse([]byte(p.reader), "reader")
	if err != nil {
		t.Fatalf("%s: %v", p.where(), err)
	}
	writer, err = Parse([]byte(p.writer), "writer")
	if err != nil {
		t.Fatalf("%s: %v", p.where(), err)
	}
	return reader, writer
}

func TestCompatibilityCorpus(t *testing.T) {
	pairs, names, hit := readCorpus(t), map[string]bool{}, map[string]bool{}
	for _, p := range pairs {
		if names[p.name] {
			t.Errorf("%s: the name is taken", p.where())
		}
		names[p.name] = true
		reader, writer := p.parse(t)
		findings := Compatibility(reader, writer)
		var got []string
		for _, f := range findings {
			got = append(got, f.Rule.ID+" "+f.Path)
			hit[f.Rule.ID] = true
			checkFinding(t, p, f)
			for _, path := range append([]string{f.Path}, f.Also...) {
				if rest := follow(reader, path); rest != "" {
					t.Errorf("%s: the reader has no %s: %q is left", p.where(), path, rest)
				}
			}
		}
		slices.Sort(got)
		if Incompatible(findings) == p.compatible || !slices.Equal(got, p.want) {
			t.Errorf("%s (%s)\nreader %s\nwriter %s\ngot  %s\nwant %s", p.where(), p.cite, p.reader, p.writer, strings.Join(got, "; "), strings.Join(p.want, "; "))
		}
		for _, s := range []*Schema{reader, writer} {
			if own := Compatibility(s, mustParse(t, s.JSON())); len(own) > 0 {
				t.Errorf("%s: %s does not read its own data: %v", p.where(), s.JSON(), own)
			}
		}
	}
	for _, rule := range CompatRules {
		if !hit[rule.ID] && rule != ruleTooLarge {
			t.Errorf("no pair is about %s", rule.ID)
		}
	}
	if len(pairs) < 300 {
		t.Errorf("only %d pairs", len(pairs))
	}
}

// checkFinding asks what every finding must have.
func checkFinding(t *testing.T, p corpusPair, f Finding) {
	t.Helper()
	if f.Reader.File != "reader" || f.Reader.Line == 0 || f.Writer.File != "writer" || f.Writer.Line == 0 {
		t.Errorf("%s: %v is at %v and %v", p.where(), f, f.Reader, f.Writer)
	}
	if f.Message == "" || f.Fix == "" || !strings.HasSuffix(f.Fix, ".") || strings.Contains(f.Message+f.Fix, "%!") {
		t.Errorf("%s: %v: %q", p.where(), f, f.Fix)
	}
	text, err := json.Marshal(f)
	var back map[string]any
	if err != nil || json.Unmarshal(text, &back) != nil || back["rule"] != f.Rule.ID || back["reader"] != f.Reader.String() || back["severity"] == "invalid" {
		t.Errorf("%s: %s", p.where(), text)
	}
}

func TestCompatRules(t *testing.T) {
	id, sentences := regexp.MustCompile(`^[A-Z]+(_[A-Z]+)*$`), regexp.MustCompile(`^[A-Z].*\.$`)
	seen := map[string]bool{}
	for _, r := range CompatRules {
		if !id.MatchString(r.ID) || seen[r.ID] || r.Severity != Error && r.Severity != Warning {
			t.Errorf("%+v", r)
		}
		seen[r.ID] = true
		for _, text := range []string{r.Summary, r.Breaks, r.Fix} {
			if !sentences.MatchString(text) {
				t.Errorf("%s: %q", r.ID, text)
			}
		}
		if !slices.Contains([]string{sectionResolution, sectionDecimal, sectionRunnel}, r.Section) || r.Severity == Warning && r.Section != sectionRunnel {
			t.Errorf("%s: section %q", r.ID, r.Section)
		}
	}
}

// follow goes along a path and returns what is left of it where it ends.
func follow(s *Schema, path string) string {
	path = strings.TrimPrefix(path, "$")
	for path != "" {
		var next *Schema
		rest := path[1:]
		switch {
		case s.Type == Array && strings.HasPrefix(path, "[]"), s.Type == Map && strings.HasPrefix(path, "{}"):
			next, rest = s.Items, path[2:]
		case s.Type == Union && path[0] == '(':
			name, after, _ := strings.Cut(rest, ")")
			for _, b := range s.Branches {
				if b.FullName() == name {
					next, rest = b, after
				}
			}
		case s.Type == Record && path[0] == '.':
			end := strings.IndexAny(rest, ".[{(")
			if end < 0 {
				end = len(rest)
			}
			if f, ok := s.Field(rest[:end]); ok {
				next, rest = f.Type, rest[end:]
			}
		}
		if next == nil {
			return path
		}
		s, path = next, rest
	}
	return ""
}

// Of more findings than can be listed, none of the errors is lost for the verdict,
// and a very long path is cut in its middle.
func TestCompatibilityIsBounded(t *testing.T) {
	fields := func(kind, last string) string {
		var b strings.Builder
		for i := range maxFindings + 5 {
			fmt.Fprintf(&b, `{"name":"f%d","type":%q},`, i, kind)
		}
		return `{"type":"record","name":"R","fields":[` + b.String() + `{"name":"z","type":"` + last + `"}]}`
	}
	findings := Compatibility(mustParse(t, fields("float", "boolean")), mustParse(t, fields("int", "string")))
	if len(findings) != maxFindings+1 || !Incompatible(findings) || findings[maxFindings].Path != "$.z" {
		t.Errorf("%d findings, the last %v", len(findings), findings[len(findings)-1])
	}
	chain := func(last string) string {
		text := last
		for i := range 400 {
			text = fmt.Sprintf(`{"type":"record","name":"R%d","fields":[{"name":"field_%d","type":%s}]}`, i, i, text)
			if i%100 == 99 { // JSON must not be nested too deep
				text = `{"type":"array","items":` + text + `}`
			}
		}
		return text
	}
	_, err := Parse([]byte(chain(`"int"`)), "")
	wantFault(t, err, ErrSchemaTooLarge)
	flat := func(last string) string {
		var b strings.Builder
		b.WriteString(`["null"`)
		for i := range 400 {
			next := fmt.Sprintf("R%d", i+1)
			if i == 399 {
				next = last
			}
			fmt.Fprintf(&b, `,{"type":"record","name":"R%d","fields":[{"name":"field_%d","type":%q}]}`, i, i, next)
		}
		return b.String() + "]"
	}
	findings = Compatibility(mustParse(t, flat("int")), mustParse(t, flat("string")))
	if len(findings) != 1 || findings[0].Path != "$(R399).field_399" {
		t.Fatalf("%v", findings)
	}
	first := func(s *Schema) *Schema { return s.Branches[1] }
	findings = Compatibility(first(mustParse(t, flat("int"))), first(mustParse(t, flat("string"))))
	path := findings[0].Path
	if len(findings) != 1 || !strings.HasPrefix(path, "$.field_0.field_1.") || !strings.HasSuffix(path, ".field_398.field_399") || strings.Count(path, "…") != 1 || len(path) > maxPathBytes+50 {
		t.Fatalf("%d findings, at %s", len(findings), path)
	}
}
