package schemas

import "slices"

// What "match" means, for the verdict (compatcheck.go) and for the plans of
// Resolver alike: there is no second copy of these rules.

const (
	maxCompatWork = 1 << 20 // comparisons of one pair of schemas
	// indexedBranches is from where on the branches of a union are found by an
	// index: below it is slower.
	indexedBranches = 16
)

// matcher finds what matches what, and counts its work.
type matcher struct {
	work   int
	unions map[*Schema]map[string][]int // of the large ones: branches by name, see candidates
}

func newMatcher() matcher { return matcher{unions: make(map[*Schema]map[string][]int)} }

// matches reports whether values of w may be read as r, neither of them a union:
// the same type and name, or a promotion. What is inside records, arrays and maps
// is not looked at: it fails by itself.
func (m *matcher) matches(r, w *Schema) bool {
	m.work++
	if r.Type != w.Type {
		return promotable(w.Type, r.Type)
	}
	return m.matchesName(r, w) && r.Size == w.Size && !decimalChanged(r, w)
}

// matchesName reports whether w's data may be read as r by its name: the
// unqualified one, or an alias of r, which is a full name. Types without a name
// match.
func (m *matcher) matchesName(r, w *Schema) bool {
	if r.Name == w.Name {
		return true
	}
	m.work += len(r.Aliases)
	return slices.Contains(r.Aliases, w.FullName())
}

func promotable(w, r Type) bool {
	switch w {
	case Int:
		return r == Long || r == Float || r == Double
	case Long:
		return r == Float || r == Double
	case Float:
		return r == Double
	case String:
		return r == Bytes
	case Bytes:
		return r == String
	}
	return false
}

// branchFor returns the branch of the union r for values of w, or -1, and the
// one that the letter of the specification takes. Of the very same full name is
// also what has that name as an alias: no type of the reader can have it.
func (m *matcher) branchFor(r, w *Schema) (best, first int) {
	best, first = -1, -1
	m.eachCandidate(r, w, func(i int) bool {
		b := r.Branches[i]
		if !m.matches(b, w) {
			return true
		}
		if first < 0 {
			best, first = i, i
		}
		if b.Type == w.Type && (b.FullName() == w.FullName() || slices.Contains(b.Aliases, w.FullName())) {
			best = i
			return false
		}
		return true
	})
	return best, first
}

// nearBranch returns the branch that has w's type and name and does not match for
// a reason of its own (its size, its scale), or -1: the reason says more than that
// there is none.
func (m *matcher) nearBranch(r, w *Schema) int {
	near := -1
	m.eachCandidate(r, w, func(i int) bool {
		b := r.Branches[i]
		if b.Type == w.Type && m.matchesName(b, w) {
			near = i
		}
		return near < 0
	})
	return near
}

// eachCandidate calls f, until it returns false, with the branches of the union r
// that values of w may match, in order.
func (m *matcher) eachCandidate(r, w *Schema, f func(i int) bool) {
	if len(r.Branches) < indexedBranches {
		for i := range r.Branches {
			if !f(i) {
				return
			}
		}
		return
	}
	index := m.unions[r]
	if index == nil {
		index = make(map[string][]int)
		for i, b := range r.Branches {
			index[b.Name] = append(index[b.Name], i) // those without a name are together
			for _, alias := range b.Aliases {
				index[alias] = append(index[alias], i)
			}
			m.work += 1 + len(b.Aliases)
		}
		m.unions[r] = index
	}
	found := index[w.Name]
	if full := w.FullName(); w.Name != "" && full != w.Name {
		found = slices.Concat(found, index[full])
		slices.Sort(found)
	}
	for _, i := range slices.Compact(slices.Clone(found)) {
		if !f(i) {
			return
		}
	}
}

// fieldFor finds the writer's field for a reader's: by name, else by the reader's
// aliases in their order; -1 when there is none.
func (s *Schema) fieldFor(reader *Field) int {
	from, _ := s.fieldsFor(reader)
	return from
}

// fieldsFor is fieldFor, and another field of the writer's that would do, or -1.
func (s *Schema) fieldsFor(reader *Field) (from, other int) {
	from, ok := s.index[reader.Name]
	if !ok {
		from = -1
	}
	for _, alias := range reader.Aliases {
		i, ok := s.index[alias]
		switch {
		case ok && from < 0:
			from = i
		case ok:
			return from, i
		}
	}
	return from, -1
}

// symbolFor returns the reader's index of a writer's symbol, or of the reader's
// default; known is false without either.
func (s *Schema) symbolFor(symbol string) (index int, known bool) {
	if i, ok := s.index[symbol]; ok {
		return i, true
	}
	i, ok := s.index[s.EnumDefault]
	return i, ok
}

// decimalChanged reports whether two decimals do not match. A decimal and plain
// bytes do.
func decimalChanged(r, w *Schema) bool {
	return w.Logical == Decimal && r.Logical == Decimal && (w.Precision != r.Precision || w.Scale != r.Scale)
}

// unitChanged reports whether a number would be kept and mean another unit.
func unitChanged(r, w *Schema) bool {
	return w.Logical.isTime() && r.Logical.isTime() &&
		(w.Logical.unitsPerSecond() != r.Logical.unitsPerSecond() || w.Logical.isTimeOfDay() != r.Logical.isTimeOfDay())
}

func (l Logical) isTime() bool { return l == Date || l.unitsPerSecond() > 0 }

// meaningChanged reports whether the reader's logical type gives values another
// meaning than the writer's.
func meaningChanged(r, w *Schema) bool {
	return r.Logical != NoLogical && w.Logical != NoLogical && r.Logical != w.Logical && !unitChanged(r, w)
}

// narrows reports whether some values of w, whose type is r's or promoted to it,
// are not values of r.
func narrows(r, w *Schema) bool {
	return w.Type == Bytes && r.Type == String || r.isNarrow() && w.Logical != r.Logical
}

// isNarrow reports whether not all values of the base type are values of s.
func (s *Schema) isNarrow() bool {
	return s.Logical == Decimal || s.Logical.isTimeOfDay() || s.Logical == UUID && s.Type == String
}

// rounds reports whether a promotion keeps not all digits of a number.
func rounds(r, w Type) bool { return r == Float && (w == Int || w == Long) || r == Double && w == Long }
