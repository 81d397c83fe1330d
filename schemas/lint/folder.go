package lint

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

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
