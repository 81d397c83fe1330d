package lint

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/schemas"
)

// maxPasses bounds load. A file with faults takes those along that refer to it,
// which is a pass for each link of the longest chain.
const maxPasses = 50

// load reads what can be read of a folder, and returns the faults of the rest. The
// catalog is nil when nothing is left of it.
//
// Files with faults are left out, and what is left is loaded again, until it
// loads. A reference to what was left out is no finding.
func load(fsys fs.FS, dir string) (*schemas.Catalog, []Finding, error) {
	rest := without{fsys, make(map[string]bool)}
	gone := make(map[string]bool) // types of the files that are left out
	var found []Finding
	for pass := range maxPasses {
		catalog, err := schemas.Load(rest, dir)
		if err == nil {
			return catalog, found, nil
		}
		faults := flatten(err)
		if e := fault.Find(faults[0]); e.Code == schemas.ErrCatalogEmpty || e.Code == schemas.ErrCatalogMissing || e.Code == schemas.ErrCatalogUnreadable && e.Where == dir {
			if pass > 0 {
				return nil, found, nil
			}
			return nil, nil, err
		}
		var these []Finding
		for _, err := range faults {
			f := fromFault(err)
			these = append(these, f)
			switch f.Rule {
			case schemas.ErrSyntax.ID, schemas.ErrSchemaTooLarge.ID, schemas.ErrCatalogUnreadable.ID:
				addNames(gone, fsys, f.Pos.File) // they may not have got as far as their names
			}
		}
		for _, f := range these {
			if !gone[unresolved(f)] {
				found = append(found, f)
			}
		}
		for _, f := range these {
			if !rest.hidden[f.Pos.File] {
				rest.hidden[f.Pos.File] = true
				addNames(gone, fsys, f.Pos.File)
			}
		}
	}
	return nil, found, nil
}

var nameAttribute = regexp.MustCompile(`"name"\s*:\s*"(?:[\w.]*\.)?(\w+)"`)

// addNames adds what may be the names of a file's types, as far as one can tell from
// a text that may not even be JSON: those of its fields are among them.
func addNames(names map[string]bool, fsys fs.FS, file string) {
	src, err := fs.ReadFile(fsys, file)
	if err != nil {
		src = nil // told already
	}
	for _, m := range nameAttribute.FindAllSubmatch(src, -1) {
		names[string(m[1])] = true
	}
	names[strings.TrimSuffix(path.Base(file), ".avsc")] = true
}

// unresolved returns the name, without its namespace, of the type that a finding
// misses; "" when that is not what it is about.
func unresolved(f Finding) (name string) {
	if f.Rule != schemas.ErrUnresolvedReference.ID {
		return ""
	}
	if _, err := fmt.Sscanf(f.Message, "no type is named %q", &name); err != nil {
		return ""
	}
	return name[strings.LastIndexByte(name, '.')+1:]
}

// flatten returns the errors that were joined.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, flatten(e)...)
	}
	return all
}

// fromFault makes a finding of a fault; the code is the rule.
func fromFault(err error) Finding {
	e := fault.Find(err)
	message := e.Message
	if e.Err != nil {
		message += ": " + e.Err.Error()
	}
	var at schemas.Pos
	at.File, at.Line, at.Col = e.Place()
	return Finding{Rule: e.Code.ID, Severity: Error, Pos: at, Message: message, Fix: e.WhatToDo()}
}

// without is a file system in which some files are not listed.
type without struct {
	fs.FS
	hidden map[string]bool
}

// ReadDir lists a folder.
func (w without) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(w.FS, name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return w.hidden[path.Join(name, e.Name())] }), err
}
