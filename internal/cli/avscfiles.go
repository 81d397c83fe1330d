package cli

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/schemas"
	"github.com/runnel-cdc/runnel/schemas/gen"
)

// writeSchemas writes the files that are missing or differ. Nothing is written
// when one of them may not be, or when the folder would be no catalog with them.
func writeSchemas(r avscResult, files map[string][]byte, f avscFlags, beforeGiven bool) (any, error) {
	var differ []string
	for _, name := range r.Files {
		have, err := os.ReadFile(filepath.Join(f.out, name))
		switch {
		case err == nil && bytes.Equal(have, files[name]):
			continue
		case err == nil:
			differ = append(differ, name)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
		r.Changed = append(r.Changed, name)
	}
	again := f.command(beforeGiven)
	switch {
	case f.check && len(r.Changed) > 0:
		return r, ErrNotCurrent.New("%d files are not current: %s", len(r.Changed), strings.Join(r.Changed, ", ")).At("%s", f.out).Fix("Run `%s`.", again)
	case f.check:
		return r, nil
	case len(differ) > 0 && !f.force:
		r.Changed = []string{}
		return r, gen.ErrForeignFile.New("%s differ from what the table gives", strings.Join(differ, ", ")).At("%s", f.out).
			Fix("Compare them, then overwrite them with --force: `%s`.", again)
	}
	catalog, err := wire.CatalogWith(f.out, files)
	if err == nil {
		err = requireOwn(catalog, r.Events, differ, f.out)
	}
	if err != nil {
		r.Changed = []string{}
		return r, err
	}
	if err := os.MkdirAll(f.out, 0o755); err != nil {
		return nil, err
	}
	for _, name := range r.Changed {
		if err := os.WriteFile(filepath.Join(f.out, name), files[name], 0o644); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// rowOperation is the one type that the events of all tables share.
const rowOperation = "RowOperation"

// requireOwn refuses to overwrite files that are types of other events too: those
// of another table, or of a service's own.
func requireOwn(catalog *schemas.Catalog, events, differ []string, dir string) error {
	for _, e := range catalog.Events() {
		if slices.Contains(events, e.Name) {
			continue
		}
		var uses []string
		eachNamed(e.Schema, map[*schemas.Schema]bool{}, func(s *schemas.Schema) { uses = append(uses, s.Name+".avsc") })
		for _, name := range differ {
			if slices.Contains(uses, name) && !(name == rowOperation+".avsc" && isRowEvent(e)) {
				return gen.ErrForeignFile.New("%s is a type of event %s, too", name, e.Name).At("%s", filepath.Join(dir, name)).
					Fix("Give the table another aggregate, or the enum another name; or write into another folder.")
			}
		}
	}
	return nil
}

// isRowEvent reports whether an event was made from a table, by its operation.
func isRowEvent(e *schemas.EventType) bool {
	f, ok := e.Schema.Field("operation")
	return ok && strings.HasSuffix(e.Name, "Changed") && f.Type.Name == rowOperation
}

// eachNamed calls f for every named type that s is made of, itself included.
func eachNamed(s *schemas.Schema, seen map[*schemas.Schema]bool, f func(*schemas.Schema)) {
	if s == nil || seen[s] {
		return
	}
	seen[s] = true
	if s.Name != "" {
		f(s)
	}
	eachNamed(s.Items, seen, f)
	for _, b := range s.Branches {
		eachNamed(b, seen, f)
	}
	for _, field := range s.Fields {
		eachNamed(field.Type, seen, f)
	}
}

// command is what to run again, with --force, as a shell takes it.
func (f avscFlags) command(beforeGiven bool) string {
	words := []string{"runnel", "schemas", "gen", "avsc", "--from-table", f.table}
	if f.aggregate != "" {
		words = append(words, "--aggregate", f.aggregate)
	}
	for _, names := range []struct {
		flag   string
		values []string
	}{{"--key", f.key}, {"--exclude", f.exclude}} {
		if len(names.values) > 0 {
			words = append(words, names.flag, flagList(names.values))
		}
	}
	if beforeGiven {
		words = append(words, fmt.Sprintf("--before=%t", f.before))
	}
	words = append(words, "--out", f.out, "--force")
	for i, w := range words {
		words[i] = shellWord(w)
	}
	return strings.Join(words, " ")
}

// flagList joins values as pflag's StringSlice takes them apart.
func flagList(values []string) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(values) // into memory
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shellWord quotes a word for a POSIX shell where it needs it.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
