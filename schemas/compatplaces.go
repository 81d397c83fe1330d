package schemas

import (
	"cmp"
	"slices"
	"strings"
)

// Where in the schemas a finding is.

const (
	maxUses        = 8 // of a pair that are kept
	maxAlso        = 5
	maxAlsoWork    = 1000    // steps in search of other paths, for one finding
	maxAlsoWorkAll = 1 << 18 // for all of them
	maxPathBytes   = 1000    // about
)

// text is the step of a path that a use adds.
func (u use) text() string {
	switch u.kind {
	case useRoot:
		return "$"
	case useField:
		return "." + u.r.Name
	case useItems:
		return "[]"
	case useValues:
		return "{}"
	case useBranch:
		return "(" + u.branch.FullName() + ")"
	}
	return ""
}

// pathOf returns the path by first uses, which is one of the shortest.
func pathOf(u use) string {
	var steps []string
	for {
		steps = append(steps, u.text())
		if u.in == nil {
			return joinPath(steps)
		}
		u = u.in.uses[0]
	}
}

// joinPath joins steps, the last one first. The middle of a very long path is
// left out.
func joinPath(steps []string) string {
	size := 0
	for _, s := range steps {
		size += len(s)
	}
	var b strings.Builder
	skip := size - maxPathBytes
	for i := len(steps) - 1; i >= 0; i-- {
		if b.Len() > maxPathBytes/2 && skip > 0 && i > 0 {
			b.WriteString("…")
			for ; skip > 0 && i > 0; i-- {
				skip -= len(steps[i])
			}
			skip = 0
		}
		b.WriteString(steps[i])
	}
	return b.String()
}

// paths returns the path to a place, and others to the same, the shortest first.
// Such as pass through a pair twice, round a recursion, do not count.
func (c *checker) paths(at site) (first string, also []string) {
	first = pathOf(at.uses()[0])
	var steps []string
	work := 0
	var climb func(u use)
	climb = func(u use) {
		work++
		c.alsoWork++
		if work > maxAlsoWork || c.alsoWork > maxAlsoWorkAll || len(also) == maxAlso || u.in != nil && u.in.on {
			return
		}
		steps = append(steps, u.text())
		if u.in == nil {
			if path := joinPath(steps); path != first && !slices.Contains(also, path) {
				also = append(also, path)
			}
		} else {
			u.in.on = true
			for _, up := range u.in.uses {
				climb(up)
			}
			u.in.on = false
		}
		steps = steps[:len(steps)-1]
	}
	if at.pair != nil {
		at.pair.on = true
		defer func() { at.pair.on = false }()
	}
	for _, u := range at.uses() {
		climb(u)
	}
	slices.SortFunc(also, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	return first, also
}

// enclosing returns the innermost named type of the reader at or around a place.
func (s site) enclosing() string {
	u := s.uses()[0]
	if s.r.Name != "" {
		return s.r.FullName()
	}
	for ; u.in != nil; u = u.in.uses[0] {
		if u.in.r.Name != "" {
			return u.in.r.FullName()
		}
	}
	return ""
}

// position returns where a place is in the reader's or the writer's file. A rule
// about what a named type holds points to its definition, one about its being
// used at all to the field, or to the array, map or union.
func (s site) position(rule *Rule, reader bool) Pos {
	at, u := s.w, s.uses()[0]
	if reader {
		at = s.r
	}
	if reader && (rule == ruleFieldMissing || rule == ruleFieldAmbiguous) {
		return u.r.Pos
	}
	if at.Name == "" || rule != ruleTypeMismatch && rule != ruleNameMismatch && rule != ruleBranchMissing {
		return at.Pos
	}
	for ; u.in != nil; u = u.in.uses[0] {
		if u.kind == useField {
			if reader {
				return u.r.Pos
			}
			return u.w.Pos
		}
		from := u.in.w
		if reader {
			from = u.in.r
		}
		if from.Name == "" {
			return from.Pos
		}
	}
	return at.Pos
}
