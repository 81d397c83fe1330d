package lint

import (
	"cmp"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/catalogfile"
	"github.com/runnel-cdc/runnel/internal/nearest"
	"github.com/runnel-cdc/runnel/schemas"
)

// files returns the types of each file, the one that the file is of first.
func (l *linter) files() map[string][]*schemas.Schema {
	files := make(map[string][]*schemas.Schema)
	for _, s := range l.own() {
		files[s.Pos.File] = append(files[s.Pos.File], s)
	}
	for _, types := range files {
		slices.SortFunc(types, func(a, b *schemas.Schema) int {
			return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Col, b.Pos.Col))
		})
	}
	return files
}

func fileName(l *linter) {
	for file, types := range l.files() {
		s, base := types[0], strings.TrimSuffix(path.Base(file), ".avsc")
		if base != s.Name && base != s.FullName() {
			l.atType(s, "Rename the file to "+s.Name+".avsc.", "is in the file %s", path.Base(file))
		}
	}
}

func fileHoldsSeveral(l *linter) {
	for _, types := range l.files() {
		for _, s := range types[1:] {
			with := ""
			if s.Namespace != "" { // it may have been that of the type around it
				with = ` with "namespace": ` + quoted(s.Namespace)
			}
			l.atType(s, "Move it to "+s.Name+".avsc"+with+", and write "+quoted(s.FullName())+" where it was.", "is defined inside the file of %s", types[0].FullName())
		}
	}
}

// notRead finds the files that were probably meant to be read.
func notRead(fsys fs.FS, dir string) []Finding {
	var found []Finding
	root := path.Clean(dir)
	_ = fs.WalkDir(fsys, root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // load tells
		}
		if meant := meantFile(path.Base(name), path.Dir(name) == root); meant != "" {
			found = append(found, Finding{
				Rule: fileNotRead, Severity: Warning, Pos: schemas.Pos{File: name},
				Message: path.Base(name) + " is not read", Fix: "Rename it to " + meant + "; or move it elsewhere, if it is not of the catalog.",
			})
		}
		return nil
	})
	return found
}

// meantFile returns the name that a file was probably to have; "" when it has it, or is
// something else. Another letter more or less would make .asc of .avsc, which is known.
func meantFile(base string, atRoot bool) string {
	ext := path.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	inner := path.Ext(stem)
	switch lower := strings.ToLower(ext); {
	case strings.HasPrefix(base, "."), ext == ".avsc", atRoot && base == catalogfile.Name:
		return ""
	case len(ext) == len(".avsc") && nearest.Within(1, ext, []string{".avsc"}) != "":
		return stem + ".avsc"
	case (lower == ".json" || lower == ".txt") && strings.EqualFold(inner, ".avsc"):
		return strings.TrimSuffix(stem, inner) + ".avsc"
	case atRoot && (lower == ".yaml" || lower == ".yml") && nearest.Within(2, stem, []string{"catalog"}) != "":
		return catalogfile.Name
	}
	return ""
}

// typeUnused names the type of a file that no event uses, not those inside it.
func typeUnused(l *linter) {
	used := make(map[*schemas.Schema]bool)
	for _, e := range l.catalog.Events() {
		used[e.Schema] = true
		collect(e.Schema, used)
	}
	for _, types := range l.files() {
		s := types[0]
		if slices.ContainsFunc(types, func(s *schemas.Schema) bool { return used[s] }) {
			continue
		}
		fix := "Remove the file, or use the type."
		if s.Type == schemas.Record {
			fix = `If it is an event, add "aggregate": "...", whose topic it belongs to; else remove the file, or use the type.`
		}
		l.atType(s, fix, "is used by no event")
	}
}

// aggregatesAlike compares with the spelling that most events have.
func aggregatesAlike(l *linter) {
	events := make(map[string]map[string]int) // of each spelling, by the folded name
	for _, e := range l.catalog.Events() {
		fold := foldAggregate(e.AggregateType)
		if events[fold] == nil {
			events[fold] = make(map[string]int)
		}
		events[fold][e.AggregateType]++
	}
	for _, e := range l.catalog.Events() {
		spellings := events[foldAggregate(e.AggregateType)]
		usual := slices.MaxFunc(slices.Sorted(maps.Keys(spellings)), func(a, b string) int { return spellings[a] - spellings[b] })
		if e.AggregateType != usual && !l.fromTable[e.Schema] {
			l.atType(e.Schema, `Write "aggregate": `+quoted(usual)+`, if it is the same; if events are published already, the topic stays: ignore the rule there.`,
				"belongs to the aggregate %q, and there is %q too", e.AggregateType, usual)
		}
	}
}

func foldAggregate(name string) string {
	fold := strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "").Replace(name))
	return strings.TrimSuffix(fold, "s")
}
