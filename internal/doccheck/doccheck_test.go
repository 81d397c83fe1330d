package doccheck

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/examples/quickstart"
	"github.com/runnel-cdc/runnel/internal/faultlist"
	"github.com/runnel-cdc/runnel/schemas"
)

func TestLinks(t *testing.T) {
	for _, d := range documents(t) {
		for _, target := range d.links {
			if _, err := fs.Stat(root, target); err != nil {
				t.Errorf("%s: %v", d.name, err)
			}
		}
	}
}

// The Go and JSON that the README shows stand in the example that is linked
// before them, in the same order.
func TestCodeIsInExamples(t *testing.T) {
	seen := make(map[string]int)
	for _, b := range parse("README.md", read(t, "README.md")).blocks {
		seen[b.language]++
		if b.language != "go" && b.language != "json" {
			continue
		}
		if b.source == "" {
			t.Errorf("no example is linked before %q", b.lines[0])
			continue
		}
		rest := strings.Split(read(t, b.source), "\n")
		for _, line := range b.lines {
			at := slices.IndexFunc(rest, func(have string) bool { return strings.TrimSpace(have) == strings.TrimSpace(line) })
			if at < 0 {
				t.Errorf("%s has no line %q, or not there", b.source, line)
				break
			}
			rest = rest[at+1:]
		}
	}
	if seen["go"] == 0 || seen["json"] == 0 || seen["sql"] == 0 {
		t.Errorf("blocks by language: %v", seen)
	}
}

// An event that the README publishes by SQL is one that the daemon accepts.
func TestPublishedJSON(t *testing.T) {
	call := regexp.MustCompile(`(?s)runnel\.publish\('([^']*)', '[^']*', '([^']*)',\s*'([^']*)'`)
	catalog, err := schemas.Load(quickstart.Schemas, "schemas")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, b := range parse("README.md", read(t, "README.md")).blocks {
		for _, m := range call.FindAllStringSubmatch(strings.Join(b.lines, "\n"), -1) {
			found++
			event, ok := catalog.Event(m[2])
			if !ok || event.AggregateType != m[1] {
				t.Errorf("the catalog has no %s of %s", m[2], m[1])
				continue
			}
			if _, err := schemas.AppendJSONToAvro(nil, event.Schema, []byte(m[3])); err != nil {
				t.Error(err)
			}
		}
	}
	if found == 0 {
		t.Error("no event is published by SQL")
	}
}

func TestCommands(t *testing.T) {
	cli, makefile := helpTexts(t), read(t, "Makefile")
	found := 0
	check := func(where string, code []string) {
		for _, line := range code {
			command, _, _ := strings.Cut(line, "#")
			words := strings.Fields(command)
			if len(words) < 2 {
				continue
			}
			var err error
			switch words[0] {
			case "runnel", "bin/runnel":
				err = cli.check(words[1:])
			case "make":
				err = checkMake(makefile, words[1:])
			default:
				continue
			}
			found++
			if err != nil {
				t.Errorf("%s: `%s`: %v", where, line, err)
			}
		}
	}
	for _, d := range documents(t) {
		check(d.name, d.code)
	}
	for _, c := range faultlist.All() {
		check(c.ID, parse(c.ID, c.Remedy).code)
	}
	if found < 30 {
		t.Errorf("only %d commands", found)
	}
}

// Files of this tree that a command names, as every one of the readers' does,
// exist.
func TestFilesInCommands(t *testing.T) {
	file, found := regexp.MustCompile(`(?:^|[\s"'(])((?:examples|deploy)/[\w./-]+)`), 0
	for _, d := range documents(t) {
		for _, code := range d.code {
			for _, m := range file.FindAllStringSubmatch(code, -1) {
				found++
				if _, err := fs.Stat(root, m[1]); err != nil {
					t.Errorf("%s: `%s`: %v", d.name, code, err)
				}
			}
		}
	}
	if found < 3 {
		t.Errorf("only %d files", found)
	}
}

// helps is the help of each command, by its words.
type helps map[string]string

// helpTexts reads the golden file that internal/cli compares with the commands.
func helpTexts(t *testing.T) helps {
	h := make(helps)
	for _, section := range strings.Split(read(t, "internal/cli/testdata/help.golden"), ">>> runnel ")[1:] {
		command, text, _ := strings.Cut(section, "\n")
		h[strings.TrimSpace(strings.TrimSuffix(command, "--help"))] = text
	}
	return h
}

// check takes what stands after the program's name.
func (h helps) check(words []string) error {
	command := ""
	for len(words) > 0 && h[strings.TrimSpace(command+" "+words[0])] != "" {
		command = strings.TrimSpace(command + " " + words[0])
		words = words[1:]
	}
	if strings.Contains(h[command], "<command>") && (len(words) == 0 || !strings.HasPrefix(words[0], "-")) {
		return fmt.Errorf("no such command: %q", words)
	}
	for _, word := range words {
		name, _, _ := strings.Cut(word, "=")
		if !strings.HasPrefix(name, "--") || name == "--help" {
			continue
		}
		if !regexp.MustCompile(`(?m)^ .*` + regexp.QuoteMeta(name) + `( |$)`).MatchString(h[command]) {
			return fmt.Errorf("no such flag: %s", name)
		}
	}
	return nil
}

// checkMake takes targets and variables.
func checkMake(makefile string, words []string) error {
	for _, word := range words {
		if name, _, ok := strings.Cut(word, "="); ok {
			if !strings.Contains(makefile, "$("+name+")") {
				return fmt.Errorf("no such variable: %s", name)
			}
		} else if !strings.Contains("\n"+makefile, "\n"+word+":") {
			return fmt.Errorf("no such target: %s", word)
		}
	}
	return nil
}

// The checker itself finds what is wrong.
func TestCheck(t *testing.T) {
	cli := helpTexts(t)
	for command, want := range map[string]bool{
		"run --auto-apply": true, "run --auto-aply": false, "schemas gen go --out=x": true, "schemas walk": false, "schemas": false,
		"walk": false, "--help": true, "tail --follow --http": false, "route explain order": true, "run --auto": false,
	} {
		if err := cli.check(strings.Fields(command)); (err == nil) != want {
			t.Errorf("%s: %v", command, err)
		}
	}
	for command, want := range map[string]bool{"test PG=17": true, "walk": false, "test PGG=1": false, "tes": false} {
		if err := checkMake(read(t, "Makefile"), strings.Fields(command)); (err == nil) != want {
			t.Errorf("make %s: %v", command, err)
		}
	}
	d := parse("a/b.md", "See [c](c.go),\n`runnel\nrun`:\n\n    runnel x \\\n      y\n\n```go\nz\n```\n")
	if got := fmt.Sprint(d); got != "{a/b.md [a/c.go] [runnel x  y runnel run] [{go [z] }]}" {
		t.Error(got)
	}
}

// A test that a document names as proof exists.
func TestNamedTestsExist(t *testing.T) {
	have := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w+)\(`)
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		for _, m := range declared.FindAllStringSubmatch(read(t, file), -1) {
			have[m[1]] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named, found := regexp.MustCompile(`^(Test|Fuzz|Example)[A-Z]\w+$`), 0
	for _, d := range documents(t) {
		for _, code := range d.code {
			if named.MatchString(code) {
				if found++; !have[code] {
					t.Errorf("%s: there is no %s", d.name, code)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d tests are named", found)
	}
}
