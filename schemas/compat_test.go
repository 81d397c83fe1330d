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
