package schemas

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A second, naive implementation of the specification's resolution, on values: it
// decodes by the writer's schema, then resolves each value to the reader's. It
// makes no plans, looks at no pair of types but those of the value at hand, and
// shares nothing with the verdict but the parsed schemas.

type (
	refSymbol string
	refRecord map[string]any
	refEntry  struct {
		key   string
		value any
	}
	refMap   []refEntry
	refUnion struct {
		branch int
		value  any
	}
	refFixed string
)

// refDecode reads one value of s, which must be valid.
func refDecode(s *Schema, data []byte) (value any, rest []byte) {
	varint := func() int64 {
		n, size := binary.Varint(data)
		data = data[size:]
		return n
	}
	take := func(n int64) []byte {
		b := data[:n]
		data = data[n:]
		return b
	}
	switch s.Type {
	case Boolean:
		value = take(1)[0] == 1
	case Int:
		value = int32(varint())
	case Long:
		value = varint()
	case Float:
		value = math.Float32frombits(binary.LittleEndian.Uint32(take(4)))
	case Double:
		value = math.Float64frombits(binary.LittleEndian.Uint64(take(8)))
	case Bytes:
		value = bytes.Clone(take(varint()))
	case String:
		value = string(take(varint()))
	case Fixed:
		value = refFixed(take(int64(s.Size)))
	case Enum:
		value = refSymbol(s.Symbols[varint()])
	case Union:
		u := refUnion{branch: int(varint())}
		u.value, data = refDecode(s.Branches[u.branch], data)
		value = u
	case Record:
		r := refRecord{}
		for _, f := range s.Fields {
			r[f.Name], data = refDecode(f.Type, data)
		}
		value = r
	case Array, Map:
		list, entries := []any{}, refMap{}
		for n := varint(); n != 0; n = varint() {
			if n < 0 {
				n = -n
				varint() // the block's size
			}
			for ; n > 0; n-- {
				var e refEntry
				if s.Type == Map {
					e.key = string(take(varint()))
				}
				e.value, data = refDecode(s.Items, data)
				list, entries = append(list, e.value), append(entries, e)
			}
		}
		if value = any(list); s.Type == Map {
			value = entries
		}
	}
	return value, data
}

var errRef = errors.New("cannot be resolved")

// reference resolves values. byLetter takes of a union the first branch that
// matches, else one of the very same type and name goes first.
type reference struct{ byLetter bool }

// matches is the list of "to match, one of the following must hold".
func (x reference) matches(w, r *Schema) bool {
	if w.Type == Union || r.Type == Union {
		return true
	}
	sameName := w.Name == r.Name
	for _, alias := range r.Aliases {
		sameName = sameName || alias == w.FullName()
	}
	switch {
	case w.Type == Array && r.Type == Array, w.Type == Map && r.Type == Map:
		return x.matches(w.Items, r.Items)
	case w.Type == Enum && r.Type == Enum, w.Type == Record && r.Type == Record:
		return sameName
	case w.Type == Fixed && r.Type == Fixed:
		return sameName && w.Size == r.Size && x.sameDecimals(w, r)
	case w.Type == r.Type:
		return x.sameDecimals(w, r)
	}
	switch fmt.Sprint(w.Type, " ", r.Type) {
	case "int long", "int float", "int double", "long float", "long double", "float double", "string bytes", "bytes string":
		return true
	}
	return false
}

func (x reference) sameDecimals(w, r *Schema) bool {
	return w.Logical != Decimal || r.Logical != Decimal || w.Precision == r.Precision && w.Scale == r.Scale
}

// branch chooses of the reader's union. from is the writer's union that w was
// selected of, or nil: where both have the same branches up to w, it keeps its place.
func (x reference) branch(w, r, from *Schema, at int) int {
	if from != nil && at < len(r.Branches) {
		same := x.matches(w, r.Branches[at])
		for i := 0; i <= at; i++ {
			same = same && from.Branches[i].Type == r.Branches[i].Type && from.Branches[i].FullName() == r.Branches[i].FullName()
		}
		if same {
			return at
		}
	}
	first := -1
	for i, b := range r.Branches {
		if !x.matches(w, b) {
			continue
		}
		if first < 0 {
			first = i
		}
		if x.byLetter {
			continue
		}
		for _, name := range append([]string{b.FullName()}, b.Aliases...) {
			if b.Type == w.Type && name == w.FullName() {
				return i
			}
		}
	}
	return first
}

func (x reference) resolve(v any, w, r *Schema) (any, error) {
	switch {
	case w.Type == Union:
		u := v.(refUnion)
		if r.Type == Union {
			return x.intoUnion(u.value, w.Branches[u.branch], r, w, u.branch)
		}
		return x.resolve(u.value, w.Branches[u.branch], r)
	case r.Type == Union:
		return x.intoUnion(v, w, r, nil, 0)
	case !x.matches(w, r):
		return nil, fmt.Errorf("%w: %s as %s", errRef, w.FullName(), r.FullName())
	}
	switch r.Type {
	case Long:
		if n, ok := v.(int32); ok {
			return int64(n), nil
		}
	case Float:
		switch n := v.(type) {
		case int32:
			return float32(n), nil
		case int64:
			return float32(n), nil
		}
	case Double:
		switch n := v.(type) {
		case int32:
			return float64(n), nil
		case int64:
			return float64(n), nil
		case float32:
			return float64(n), nil
		}
	case Bytes:
		if s, ok := v.(string); ok {
			return []byte(s), nil
		}
	case String:
		if b, ok := v.([]byte); ok {
			return string(b), nil
		}
	case Enum:
		for _, have := range r.Symbols {
			if refSymbol(have) == v {
				return v, nil
			}
		}
		if r.EnumDefault == "" {
			return nil, fmt.Errorf("%w: symbol %s", errRef, v)
		}
		return refSymbol(r.EnumDefault), nil
	case Array:
		out := []any{}
		for _, item := range v.([]any) {
			got, err := x.resolve(item, w.Items, r.Items)
			if err != nil {
				return nil, err
			}
			out = append(out, got)
		}
		return out, nil
	case Map:
		out := refMap{}
		for _, e := range v.(refMap) {
			got, err := x.resolve(e.value, w.Items, r.Items)
			if err != nil {
				return nil, err
			}
			out = append(out, refEntry{e.key, got})
		}
		return out, nil
	case Record:
		return x.record(v.(refRecord), w, r)
	}
	return v, nil
}

func (x reference) intoUnion(v any, w, r, from *Schema, at int) (any, error) {
	i := x.branch(w, r, from, at)
	if i < 0 {
		return nil, fmt.Errorf("%w: no branch for %s", errRef, w.FullName())
	}
	got, err := x.resolve(v, w, r.Branches[i])
	return refUnion{i, got}, err
}

func (x reference) record(v refRecord, w, r *Schema) (any, error) {
	out := refRecord{}
fields:
	for _, f := range r.Fields {
		for _, name := range append([]string{f.Name}, f.Aliases...) {
			for _, g := range w.Fields {
				if g.Name != name {
					continue
				}
				got, err := x.resolve(v[name], g.Type, f.Type)
				if err != nil {
					return nil, err
				}
				out[f.Name] = got
				continue fields
			}
		}
		if f.Default == nil {
			return nil, fmt.Errorf("%w: field %s", errRef, f.Name)
		}
		out[f.Name], _ = refDecode(f.Type, f.defaultAvro)
	}
	return out, nil
}

// sampler makes values of a schema that together take every way through it: each
// branch of a union, each symbol, each field's samples in turn, an array and a map
// with one item of each, each record inside itself so many times.
type sampler struct {
	unfold int
	left   int // values that may still be made
	open   map[*Schema]int
}

func newSampler(unfold, most int) *sampler {
	return &sampler{unfold: unfold, left: most, open: map[*Schema]int{}}
}

// values returns none for a record that is open too often.
func (g *sampler) values(s *Schema) [][]byte {
	if g.left <= 0 {
		return nil
	}
	one := func(b ...byte) [][]byte { return [][]byte{b} }
	var out [][]byte
	switch s.Type {
	case Null:
		out = one()
	case Boolean:
		out = one(1)
	case Int, Long:
		out = one(2 * 7)
	case Float:
		out = one(0, 0, 0xc0, 0x3f)
	case Double:
		out = one(0, 0, 0, 0, 0, 0, 0xf8, 0x3f)
	case Bytes, String:
		text := map[Logical]string{NoLogical: "x", UUID: "0190163d-8694-739b-aea5-966c26f8ad91", Decimal: "\x07"}[s.Logical]
		out = one(append(binary.AppendVarint(nil, int64(len(text))), text...)...)
	case Fixed:
		out = one(make([]byte, s.Size)...)
	case Enum:
		for i := range s.Symbols {
			out = append(out, binary.AppendVarint(nil, int64(i)))
		}
	case Union:
		for i, b := range s.Branches {
			for _, v := range g.values(b) {
				out = append(out, append(binary.AppendVarint(nil, int64(i)), v...))
			}
		}
	case Array, Map:
		out = one(0)
		for _, v := range g.values(s.Items) {
			item := []byte{2}
			if s.Type == Map {
				item = []byte{2, 2, 'k'}
			}
			out = append(out, append(append(item, v...), 0))
		}
	case Record:
		out = g.records(s)
	}
	g.left -= len(out)
	return out
}

func (g *sampler) records(s *Schema) [][]byte {
	if g.open[s] > g.unfold {
		return nil
	}
	g.open[s]++
	defer func() { g.open[s]-- }()
	var fields [][][]byte
	for _, f := range s.Fields {
		values := g.values(f.Type)
		if len(values) == 0 {
			return nil
		}
		fields = append(fields, values)
	}
	with := func(field, sample int) []byte {
		var out []byte
		for i, values := range fields {
			if i == field {
				out = append(out, values[sample]...)
			} else {
				out = append(out, values[0]...)
			}
		}
		return out
	}
	out := [][]byte{with(-1, 0)}
	for i, values := range fields {
		for j := 1; j < len(values); j++ {
			out = append(out, with(i, j))
		}
	}
	return out
}
