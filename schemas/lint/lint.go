package lint

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"

	"github.com/runnel-cdc/runnel/schemas"
)

// Severity says whether a finding must be mended.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // it does harm, or will
	Warning Severity = "warning" // it is likely to, or is merely unclear
)

// Finding is one thing found at one place.
type Finding struct {
	Rule     string // the ID of a Rule, or of the fault of a file that does not parse
	Severity Severity
	Pos      schemas.Pos
	Path     string // the type, or type.field, that it is about; "" when it is about a file
	Message  string // what was found
	Fix      string // what to do about it, for this finding

	typ string // the type of Path
}

// String returns file:line:col: ID message.
func (f Finding) String() string {
	return fmt.Sprintf("%s: %s %s", f.Pos, f.Rule, f.Message)
}

// Options of Dir. The zero value looks for everything.
type Options struct {
	// Ignore holds ids of rules that are not looked for, beside those that the
	// folder's catalog.yaml names.
	Ignore []string
}

// Dir looks through the *.avsc files in dir and below it, and returns all findings
// of all files, sorted by place. A file that does not parse gives its faults as
// findings, with their codes as rules, and does not keep the others from being
// looked at. What catalog.yaml ignores is left out, and an entry there that leaves
// nothing out is a finding itself.
//
// The error is a *fault.Error: the folder cannot be read or holds no schema, or
// Options name a rule that does not exist.
func Dir(fsys fs.FS, dir string, o Options) ([]Finding, error) {
	ignored, err := ignoreFlags(o.Ignore)
	if err != nil {
		return nil, err
	}
	catalog, found, err := load(fsys, dir)
	if err != nil {
		return nil, err
	}
	whole := len(found) == 0
	if catalog != nil {
		found = append(found, look(catalog, whole)...)
	}
	found = append(found, notRead(fsys, dir)...)
	entries, faults := ignoreFile(fsys, dir)
	found = ignore(append(found, faults...), ignored, entries, whole)
	return sorted(found), nil
}

// Catalog returns the findings of a catalog that was loaded, sorted by place. No
// catalog.yaml is read.
func Catalog(c *schemas.Catalog) []Finding { return sorted(look(c, true)) }

// look goes by all rules; whole tells that the catalog is all there is.
func look(c *schemas.Catalog, whole bool) []Finding {
	l := newLinter(c)
	for i := range registry {
		r := &registry[i]
		if r.needsAll && !whole {
			continue
		}
		l.rule = r
		if r.whole != nil {
			r.whole(l)
		}
		for _, s := range l.catalog.Types() {
			if r.Severity == Warning && l.fromTable[s] {
				continue
			}
			l.look(s)
		}
	}
	return l.found
}

func sorted(found []Finding) []Finding {
	slices.SortStableFunc(found, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col),
			cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(found)
}
