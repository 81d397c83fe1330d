package lint

import (
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/catalogfile"
	"github.com/runnel-cdc/runnel/internal/nearest"
)

// ignoreFlags checks the ids of Options.
func ignoreFlags(ids []string) (map[string]bool, error) {
	ignored := make(map[string]bool, len(ids))
	for _, id := range ids {
		if _, ok := findRule(id); !ok {
			e := ErrRuleUnknown.New("no rule is named %.100q", id)
			if fix := didYouMean(id); fix != "" {
				e = e.Fix("%s", fix)
			}
			return nil, e
		}
		ignored[id] = true
	}
	return ignored, nil
}

func didYouMean(id string) string {
	var ids []string
	for _, r := range Rules() {
		ids = append(ids, r.ID)
	}
	if near := nearest.Of(id, ids); near != "" {
		return "Did you mean " + near + "?"
	}
	return ""
}

// ignoreFile reads what catalog.yaml ignores; what is wrong with the file is a
// finding.
func ignoreFile(fsys fs.FS, dir string) (entries []catalogfile.Ignore, found []Finding) {
	file, err := catalogfile.Read(fsys, dir)
	if err != nil {
		for _, err := range flatten(err) {
			found = append(found, fromFault(err))
		}
	}
	for _, i := range file.Lint.Ignore {
		if _, ok := findRule(i.Rule); ok {
			entries = append(entries, i)
			continue
		}
		e := catalogfile.ErrValue.New("lint.ignore: no rule is named %.100q", i.Rule).At("%s", i.Pos).Fix("%s", ErrRuleUnknown.Remedy)
		if fix := didYouMean(i.Rule); fix != "" {
			e = e.Fix("%s", fix)
		}
		found = append(found, fromFault(e))
	}
	return entries, found
}

// ignore leaves out findings, and with whole reports entries that left nothing out:
// else what they are for may be in a file that did not parse.
func ignore(found []Finding, ignored map[string]bool, entries []catalogfile.Ignore, whole bool) []Finding {
	used := make([]bool, len(entries))
	kept := slices.DeleteFunc(found, func(f Finding) bool {
		out := ignored[f.Rule]
		for i, e := range entries {
			if e.Rule == f.Rule && (e.Path == "" || matches(e.Path, f.Path) || matches(e.Path, f.typ)) {
				used[i], out = true, true
			}
		}
		return out
	})
	if !whole || ignored[ignoreUnused] {
		return kept
	}
	for i, e := range entries {
		if used[i] || ignored[e.Rule] || e.Rule == ignoreUnused {
			continue
		}
		what := e.Rule
		if e.Path != "" {
			what += " at " + e.Path
		}
		f := Finding{Rule: ignoreUnused, Severity: Warning, Pos: e.Pos, Message: what + " is ignored, and there is no such finding", Fix: "Remove the entry."}
		if !slices.ContainsFunc(entries, func(e catalogfile.Ignore) bool { return e.Rule == ignoreUnused }) {
			kept = append(kept, f)
		}
	}
	return kept
}

// matches reports whether a glob, which was checked when it was read, fits all of a
// path.
func matches(glob, name string) bool {
	if !strings.ContainsAny(glob, `*?[\`) {
		return glob == name
	}
	ok, err := path.Match(glob, name)
	return ok && err == nil
}
