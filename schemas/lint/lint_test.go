package lint

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"
)

// Every file of testdata/lint is a folder of schemas and, in "want", what is found
// in it: place, rule, message, and after an arrow the fix. A file that is named
// after a rule wants the findings of that rule, another all. UPDATE_GOLDEN=1
// rewrites what is wanted.
func TestRules(t *testing.T) {
	names, err := filepath.Glob("testdata/lint/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			fsys := fstest.MapFS{}
			for _, f := range archive.Files {
				if f.Name != "want" {
					fsys["schemas/"+f.Name] = &fstest.MapFile{Data: f.Data}
				}
			}
			found, err := Dir(fsys, "schemas", Options{})
			if err != nil {
				t.Fatal(err)
			}
			if id := strings.ToUpper(strings.TrimSuffix(filepath.Base(name), ".txt")); isRule(id) {
				found = slices.DeleteFunc(found, func(f Finding) bool { return f.Rule != id })
				requireBoth(t, fsys, found)
			}
			var got strings.Builder
			for _, f := range found {
				fmt.Fprintf(&got, "%s\n  -> %s\n", strings.TrimPrefix(f.String(), "schemas/"), f.Fix)
				if isRule(f.Rule) && (f.Fix == "" || f.Severity != Error && f.Severity != Warning || strings.HasSuffix(f.Message, ".") || !strings.HasSuffix(f.Fix, ".") && !strings.HasSuffix(f.Fix, "?")) {
					t.Errorf("not in the style of findings: %+v", f)
				}
			}
			last := &archive.Files[len(archive.Files)-1]
			if last.Name != "want" {
				t.Fatal("the last file must be want")
			}
			if got.String() == string(last.Data) {
				return
			}
			if os.Getenv("UPDATE_GOLDEN") == "" {
				t.Fatalf("found:\n%s\nwant:\n%s", got.String(), last.Data)
			}
			last.Data = []byte(got.String())
			if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func isRule(id string) bool {
	_, ok := findRule(id)
	return ok
}

// requireBoth wants a schema that a rule finds something in, and one where it
// finds nothing.
func requireBoth(t *testing.T, fsys fstest.MapFS, found []Finding) {
	t.Helper()
	with := make(map[string]bool)
	for _, f := range found {
		with[f.Pos.File] = true
	}
	if len(with) == 0 || len(with) == len(fsys) {
		t.Errorf("of %d files %d have a finding; some must, and some must not", len(fsys), len(with))
	}
}

// Every rule has its file in testdata, one style, and an ID that no fault has.
func TestEveryRuleIsTested(t *testing.T) {
	for _, r := range Rules() {
		if _, err := os.Stat("testdata/lint/" + strings.ToLower(r.ID) + ".txt"); err != nil {
			t.Errorf("%s has no test: %v", r.ID, err)
		}
		for _, sentence := range []string{r.Finds, r.Why} {
			if !strings.HasSuffix(sentence, ".") || strings.Contains(sentence, "\n") || strings.ToUpper(sentence[:1]) != sentence[:1] {
				t.Errorf("%s: %q is no sentence", r.ID, sentence)
			}
		}
	}
}
