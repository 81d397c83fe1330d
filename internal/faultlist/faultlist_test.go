package faultlist

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/fault"
)

var (
	id     = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$`)
	cause  = regexp.MustCompile(`^[A-Z].*\.$`)
	remedy = regexp.MustCompile(`(?s)^[A-Z].*(\.|\n  [^\n]*;)$`)
)

// One style for all; a person reads them one below the other.
func TestStyle(t *testing.T) {
	rules := []struct {
		what string
		text func(*fault.Code) string
		want *regexp.Regexp
	}{
		{"ID", func(c *fault.Code) string { return c.ID }, id},
		{"Cause", func(c *fault.Code) string { return c.Cause }, cause},
		{"Remedy", func(c *fault.Code) string { return c.Remedy }, remedy},
	}
	for _, c := range All() {
		for _, r := range rules {
			if !r.want.MatchString(r.text(c)) {
				t.Errorf("%s: the %s %q is not like %s", c.ID, r.what, r.text(c), r.want)
			}
		}
		if c.Class < fault.Runtime || c.Class > fault.Environment {
			t.Errorf("%s has class %d", c.ID, c.Class)
		}
	}
}

// Not even the same words in another order: EVENT_UNKNOWN beside UNKNOWN_EVENT.
func TestUnique(t *testing.T) {
	seen := make(map[string]string)
	for _, c := range All() {
		words := strings.Split(c.ID, "_")
		slices.Sort(words)
		key := strings.Join(words, " ")
		if first, ok := seen[key]; ok {
			t.Errorf("%s and %s: share the code, or tell them apart", first, c.ID)
		}
		seen[key] = c.ID
	}
}

// A code that is not in its package's Faults, or a package that is not in All.
func TestComplete(t *testing.T) {
	listed := make(map[string]bool)
	for _, c := range All() {
		listed[c.ID] = true
	}
	define := regexp.MustCompile(`fault\.Define\("([^"]*)"`)
	root := os.DirFS("../..")
	found := 0
	err := fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := fs.ReadFile(root, path)
		for _, m := range define.FindAllSubmatch(src, -1) {
			found++
			if !listed[string(m[1])] {
				t.Errorf("%s defines %s, which All does not list", path, m[1])
			}
		}
		return err
	})
	if err != nil || found < 100 {
		t.Fatalf("found %d codes: %v", found, err)
	}
}
