package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

const (
	intA  = `{"type": "record", "name": "A", "aggregate": "order", "fields": [{"name": "n", "type": "int"}]}`
	longA = `{"type": "record", "name": "A", "aggregate": "order", "fields": [{"name": "n", "type": "long"}]}`
)

// twoFolders is a catalog and what it takes the place of, without servers.
func twoFolders(t *testing.T, was, now string) *live {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"was", "schemas"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l := &live{t, []string{"LANG=C.UTF-8"}}
	l.write("../was/a.avsc", was)
	l.write("a.avsc", now)
	return l
}

// What is waived is said, and counts as nothing.
func TestCheckWaived(t *testing.T) {
	l := twoFolders(t, intA, longA)
	check := []string{"schemas", "check", "schemas", "--against", "was", "--strict"}
	l.refuses(2, []string{"TYPE_MISMATCH", "1 error, 0 warnings\n"}, check...)
	l.write("catalog.yaml", "waivers: [{event: A, rule: TYPE_MISMATCH, reason: nobody reads it, owner: shop, expires: 2999-01-01}]\n")
	l.refuses(0, []string{"(note)", "Waived until 2999-01-01 by shop: nobody reads it", "0 errors, 0 warnings, 1 note\n"}, check...)
	l.refuses(0, []string{"::notice file=schemas/a.avsc,line=1,col=88,title=TYPE_MISMATCH::"}, append(check, "--format", "github")...)
	l.refuses(0, []string{`"severity":"note"`}, append(check, "--format", "jsonl")...)
	l.refuses(0, []string{`"notes": 1`, `"severity": "note"`}, append(check, "-o", "json")...)
}

// Programs need not take the message apart.
func TestCheckSaysVersions(t *testing.T) {
	l := twoFolders(t, intA, longA)
	l.refuses(2, []string{`"direction":"forward","against":["was"]}`}, "schemas", "check", "schemas", "--against", "was", "--format", "jsonl")
	l = twoFolders(t, longA, intA)
	l.refuses(2, []string{`"direction":"backward","against":["was"]}`}, "schemas", "check", "schemas", "--against", "was", "--format", "jsonl")
}

// A check that finds nothing says what it has looked at.
func TestCheckSaysWhatWasCompared(t *testing.T) {
	l := twoFolders(t, intA, intA)
	check := []string{"schemas", "check", "schemas", "--against", "was"}
	l.refuses(0, []string{"1 event against was, 0 changed\n0 errors, 0 warnings\n"}, check...)
	l.write("b.avsc", strings.Replace(intA, `"A"`, `"B"`, 1))
	l.refuses(0, []string{"2 events against was, 1 changed\n"}, check...)
	l.refuses(0, []string{`"events": 2`, `"changed": 1`}, append(check, "-o", "json")...)
	if text := l.must(append(check, "--format", "github")...); text != "" {
		t.Errorf("annotations: %s", text)
	}
}

// Mistakes in the catalog's files are findings of lint and of check alike, by place.
func TestFilesAtFault(t *testing.T) {
	const (
		settings = `compatibility: STRICT
events:
  Paid: {owner: shop}
  A: {compatibility: BACKWARDS}
waivers:
  - {event: A, rule: TYPE_MISMATCHED, reason: r, owner: shop, expires: 2999-01-01}
`
		level   = `schemas/catalog.yaml:1:16: CATALOG_FILE_VALUE "STRICT" is no compatibility level`
		unknown = `schemas/catalog.yaml:3:3: CATALOG_FILE_VALUE there is no event "Paid"`
		ofEvent = `schemas/catalog.yaml:4:22: CATALOG_FILE_VALUE "BACKWARDS" is no compatibility level: did you mean BACKWARD?`
		rule    = `schemas/catalog.yaml:6:5: CATALOG_FILE_VALUE there is no rule "TYPE_MISMATCHED"`
	)
	lint, check := []string{"schemas", "lint", "schemas"}, []string{"schemas", "check", "schemas", "--against", "was"}
	l := twoFolders(t, intA, intA)
	l.write("catalog.yaml", settings)
	for _, args := range [][]string{lint, check} {
		l.refuses(2, []string{level, unknown, ofEvent, rule + "\n  → ", "4 errors"}, args...)
	}
	// Of a file that does not parse, the events are not known.
	l.write("z.avsc", `{"type": "record", "name": "Paid", "aggregate": "order", "fields": [}`)
	for _, args := range [][]string{lint, check} {
		l.refuses(2, []string{level, ofEvent, rule, "schemas/z.avsc:1:69: SCHEMA_SYNTAX", "4 errors"}, args...)
		code, stdout, stderr := l.run(t.Context(), append(args, "--format", "jsonl")...)
		var places []string
		for line := range strings.Lines(stdout) {
			var f finding
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatal(err)
			}
			if f.Severity == severityError {
				places = append(places, f.place())
			}
		}
		if got := strings.Join(places, " "); code != 2 || !strings.HasPrefix(stderr, "SCHEMA_FINDINGS 4 errors\n") ||
			got != "schemas/catalog.yaml:1:16 schemas/catalog.yaml:4:22 schemas/catalog.yaml:6:5 schemas/z.avsc:1:69" {
			t.Errorf("%q: %d, %s\n%s", args, code, got, stderr)
		}
	}
	l.refuses(2, []string{"::error file=schemas/z.avsc,line=1,col=69,title=SCHEMA_SYNTAX::"}, append(check, "--format", "github")...)
	l.refuses(2, []string{`"code": "SCHEMA_FINDINGS"`, `"rule": "SCHEMA_SYNTAX"`, `"deprecated": []`}, append(check, "-o", "json")...)
	// What is about no file is no finding.
	l.refuses(2, []string{"nowhere: CATALOG_MISSING"}, "schemas", "check", "was", "--against", "./nowhere")
	l.refuses(2, []string{"nowhere: CATALOG_MISSING"}, "schemas", "check", "nowhere", "--against", "was")
}
