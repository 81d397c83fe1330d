package faultlist

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// Every code is expected by some test, by its ID or by its variable. A test
// that expects a code fails when nothing produces it any more.
func TestProduced(t *testing.T) {
	root := os.DirFS("../..")
	names := make(map[string][]string) // variables of a code, as package.Name
	defined := regexp.MustCompile(`(Err\w+)\s*=\s*fault\.Define\("([^"]*)"`)
	renamed := regexp.MustCompile(`(Err\w+)\s*=\s*(\w+)\.(Err\w+)`)
	named := regexp.MustCompile(`\b(?:(\w+)\.)?(Err[A-Z]\w*|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*)\b`)
	packageOf := regexp.MustCompile(`(?m)^package (\w+?)(?:_test)?$`)
	aliases := make(map[string]string) // package.Name to package.Name
	expected := make(map[string]bool)  // package.Name, or ID
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(file, "faultlist") {
			return err
		}
		isGo, isTest := path.Ext(file) == ".go", strings.HasSuffix(file, "_test.go") || strings.Contains(file, "/contract/")
		isScript := path.Ext(file) == ".txtar"
		if !isGo && !isScript {
			return nil
		}
		raw, err := fs.ReadFile(root, file)
		src, pkg := string(raw), ""
		if isGo {
			pkg = packageOf.FindStringSubmatch(src)[1]
		}
		if isTest || isScript {
			for _, m := range named.FindAllStringSubmatch(src, -1) {
				switch {
				case !strings.HasPrefix(m[2], "Err"):
					expected[m[2]] = true
				case m[1] != "":
					expected[m[1]+"."+m[2]] = true
				default:
					expected[pkg+"."+m[2]] = true
				}
			}
			return err
		}
		for _, m := range defined.FindAllStringSubmatch(src, -1) {
			names[m[2]] = append(names[m[2]], pkg+"."+m[1])
		}
		for _, m := range renamed.FindAllStringSubmatch(src, -1) {
			if m[2] != "fault" {
				aliases[pkg+"."+m[1]] = m[2] + "." + m[3]
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for alias, name := range aliases {
		if expected[alias] {
			expected[name] = true
		}
	}
	for _, c := range All() {
		found := expected[c.ID]
		for _, name := range names[c.ID] {
			found = found || expected[name]
		}
		if !found {
			t.Errorf("no test expects %s (%v)", c.ID, names[c.ID])
		}
	}
}
