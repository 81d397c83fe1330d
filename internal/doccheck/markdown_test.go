package doccheck

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// root is the tree, read as it is on disk.
var root = os.DirFS("../..")

// document is what the tests look at of a Markdown file.
type document struct {
	name   string
	links  []string // relative ones, as paths below the root
	code   []string // lines of code outside of blocks, and spans
	blocks []block
}

// block is a fenced block with a language.
type block struct {
	language string
	lines    []string
	source   string // the last link to an example before it
}

var (
	link = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)
	span = regexp.MustCompile("`([^`]+)`")
)

// parse reads as much of Markdown as this tree uses.
func parse(name, text string) document {
	d := document{name: name}
	var prose strings.Builder // spans may go over the end of a line
	var open *block
	source := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch fence, ok := strings.CutPrefix(strings.TrimSpace(line), "```"); {
		case ok && open != nil:
			d.blocks = append(d.blocks, *open)
			open = nil
		case ok:
			open = &block{language: fence, source: source}
		case open != nil:
			open.lines = append(open.lines, line)
		case strings.HasPrefix(line, "    "):
			d.code = append(d.code, strings.TrimSpace(line))
		default:
			prose.WriteString(line + " ")
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				target := path.Join(path.Dir(name), m[1])
				d.links = append(d.links, target)
				if strings.HasPrefix(target, "examples/") {
					source = target
				}
			}
		}
	}
	for _, b := range d.blocks {
		if b.language == "" || b.language == "sh" {
			d.code = append(d.code, b.lines...)
		}
	}
	d.code = joined(d.code)
	for _, m := range span.FindAllStringSubmatch(prose.String(), -1) {
		d.code = append(d.code, m[1])
	}
	return d
}

// joined joins lines that end in a backslash with the next.
func joined(lines []string) []string {
	text := strings.ReplaceAll(strings.Join(lines, "\n"), "\\\n", " ")
	return strings.Split(text, "\n")
}

// documents are README.md, those beside it, that of the readers, and what is in docs.
func documents(t *testing.T) []document {
	t.Helper()
	var all []document
	add := func(name string) {
		all = append(all, parse(name, read(t, name)))
	}
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/readers/README.md"} {
		add(name)
	}
	err := fs.WalkDir(root, "docs", func(name string, _ fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(name, ".md") {
			add(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := fs.ReadFile(root, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
