package schemas

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/hamba/avro/v2"
	twmb "github.com/twmb/avro"
	"pgregory.net/rapid"
)

// What an implementation says of a pair.
type opinion string

const (
	saysCompatible   opinion = "compatible"
	saysIncompatible opinion = "incompatible"
	saysUnparsable   opinion = "cannot parse it"
	saysError        opinion = "answers with an error"
)

// differs reports whether two opinions lead to different actions. What cannot be
// parsed, and what ends in an error, is refused.
func (o opinion) differs(from opinion) bool { return (o == saysCompatible) != (from == saysCompatible) }

func opinionOf(err error) opinion {
	if err != nil {
		return saysIncompatible
	}
	return saysCompatible
}

// bySpecification leaves out the errors that are Runnel's own.
func bySpecification(findings []Finding) opinion {
	for _, f := range findings {
		if f.Rule.Severity == Error && f.Rule.Section != sectionRunnel {
			return saysIncompatible
		}
	}
	return saysCompatible
}

func opinionOfTwmb(reader, writer string) (opinion, error) {
	r, err := twmb.Parse(reader)
	if err != nil {
		return saysUnparsable, err
	}
	w, err := twmb.Parse(writer)
	if err != nil {
		return saysUnparsable, err
	}
	_, err = twmb.Resolve(w, r)
	return opinionOf(err), err
}

// opinionOfHamba asks a checker of its own for each pair: a shared one keeps
// verdicts by fingerprint, which does not see defaults.
func opinionOfHamba(reader, writer string) (opinion, error) {
	r, err := avro.ParseWithCache(reader, "", &avro.SchemaCache{})
	if err != nil {
		return saysUnparsable, err
	}
	w, err := avro.ParseWithCache(writer, "", &avro.SchemaCache{})
	if err != nil {
		return saysUnparsable, err
	}
	err = avro.NewSchemaCompatibility().Compatible(r, w)
	return opinionOf(err), err
}

// asked is a pair that other libraries are asked about.
type asked struct {
	reader, writer         *Schema
	readerText, writerText string
	findings               []Finding
}

func (a asked) has(rules ...*Rule) bool {
	return slices.ContainsFunc(a.findings, func(f Finding) bool { return slices.Contains(rules, f.Rule) })
}

// eachType calls f with every type of both schemas, once.
func (a asked) eachType(f func(*Schema)) {
	seen := map[*Schema]bool{}
	var walk func(s *Schema)
	walk = func(s *Schema) {
		if s == nil || seen[s] {
			return
		}
		seen[s] = true
		f(s)
		walk(s.Items)
		for _, b := range s.Branches {
			walk(b)
		}
		for _, field := range s.Fields {
			walk(field.Type)
		}
	}
	walk(a.reader)
	walk(a.writer)
}

func (a asked) some(f func(*Schema) bool) (found bool) {
	a.eachType(func(s *Schema) { found = found || f(s) })
	return found
}

// knownErrors are those of two libraries, twmb/avro 1.9.0 and hamba/avro 2.31.0,
// against the specification. A pair that one applies to is not asked about.
var knownErrors = map[string][]struct {
	what    string
	applies func(a asked) bool
}{
	"twmb": {
		{"a union with null first is a default by itself", func(a asked) bool {
			return slices.ContainsFunc(a.findings, func(f Finding) bool { return f.Rule == ruleFieldMissing && strings.Contains(f.Fix, "null") })
		}},
		{"a type's alias matches any namespace", func(a asked) bool {
			return a.has(ruleNameMismatch, ruleBranchMissing) && a.some(func(r *Schema) bool {
				return a.some(func(w *Schema) bool {
					return slices.ContainsFunc(r.Aliases, func(alias string) bool { return alias != w.FullName() && strings.HasSuffix("."+alias, "."+w.Name) })
				})
			})
		}},
		{"a field under its name and its alias is refused", func(a asked) bool { return a.has(ruleFieldAmbiguous) }},
		{"decimals that differ are found after the branch is chosen", func(a asked) bool {
			return a.some(func(s *Schema) bool { return s.Logical == Decimal }) && a.some(func(s *Schema) bool { return s.Type == Union })
		}},
		{"big-decimal is read at once", func(a asked) bool {
			return a.some(func(s *Schema) bool { return string(s.Props["logicalType"]) == `"big-decimal"` })
		}},
	},
	"hamba": {
		{"the stack overflows on recursive types", func(a asked) bool { return isRecursive(a.reader) || isRecursive(a.writer) }},
		{"decimals are not compared", func(a asked) bool { return a.some(func(s *Schema) bool { return s.Logical == Decimal }) }},
		{"of several fields by name and alias, the writer's first is taken", func(a asked) bool { return a.has(ruleFieldAmbiguous) }},
		{"all branches of the reader's union are tried, also those after the first that matches", func(a asked) bool {
			return a.has(ruleBranchAmbiguous) || sameUnqualified(a.reader)
		}},
		{"branches of the writer that become one type are refused", func(a asked) bool {
			return sameUnqualified(a.writer) || a.some(func(s *Schema) bool { return s.Type == Union && promotes(s) })
		}},
		{"the default of a union with a logical type is refused when it is used", func(a asked) bool {
			return a.some(func(s *Schema) bool {
				return slices.ContainsFunc(s.Fields, func(f *Field) bool {
					return f.Default != nil && f.Type.Type == Union && slices.ContainsFunc(f.Type.Branches, func(b *Schema) bool { return b.Logical != NoLogical })
				})
			})
		}},
		{"a null outside of unions cannot be skipped", func(a asked) bool {
			return a.some(func(s *Schema) bool {
				return s.Items != nil && s.Items.Type == Null || slices.ContainsFunc(s.Fields, func(f *Field) bool { return f.Type.Type == Null })
			})
		}},
	},
}

func isRecursive(s *Schema) bool {
	open, done := map[*Schema]bool{}, map[*Schema]bool{}
	var walk func(s *Schema) bool
	walk = func(s *Schema) bool {
		if s == nil || done[s] || open[s] {
			return s != nil && open[s]
		}
		open[s] = true
		found := walk(s.Items)
		for _, b := range s.Branches {
			found = found || walk(b)
		}
		for _, f := range s.Fields {
			found = found || walk(f.Type)
		}
		delete(open, s)
		done[s] = true
		return found
	}
	return walk(s)
}

// sameUnqualified reports whether a union holds two of one unqualified name.
func sameUnqualified(s *Schema) (found bool) {
	asked{reader: s}.eachType(func(s *Schema) {
		seen := map[string]bool{}
		for _, b := range s.Branches {
			found = found || b.Name != "" && seen[b.Name]
			seen[b.Name] = true
		}
	})
	return found
}

// promotes reports whether a union's branches could become one type.
func promotes(u *Schema) bool {
	for _, b := range u.Branches {
		for _, c := range u.Branches {
			if promotable(b.Type, c.Type) {
				return true
			}
		}
	}
	return false
}

// Two other libraries come to the same verdict, and read what it allows to the
// same values, but for what they are known to get wrong.
func TestVerdictAgainstOthers(t *testing.T) {
	seeds, counts := readCorpus(t), map[string]int{}
	libraries := map[string]struct {
		ask  func(reader, writer string) (opinion, error)
		read func(t *rapid.T, a asked, data []byte, want any) error
	}{"twmb": {opinionOfTwmb, readAsTwmb}, "hamba": {opinionOfHamba, readAsHamba}}
	checkOften(t, 1000, func(t *rapid.T) {
		reader, writer, readerText, writerText := drawPair(t, seeds)
		a := asked{reader, writer, readerText, writerText, Compatibility(reader, writer)}
		var data []byte
		var value any
		resolver, err := NewResolver(writer, reader)
		if err == nil {
			data = appendRandom(t, nil, writer, 5, 0)
			got, err := resolver.Append(nil, data)
			if err != nil { // narrowing: others are laxer
				return
			}
			value, _ = refDecode(reader, got)
		}
	libraries:
		for _, name := range slices.Sorted(maps.Keys(libraries)) {
			for _, known := range knownErrors[name] {
				if known.applies(a) {
					counts[name+": "+known.what]++
					continue libraries
				}
			}
			o, err := libraries[name].ask(readerText, writerText)
			counts[fmt.Sprintf("%s: %s", name, o)]++
			if o == saysUnparsable {
				continue
			}
			if o != bySpecification(a.findings) {
				t.Fatal(pairText(readerText, writerText, name, o, err, a.findings))
			}
			if resolver == nil {
				continue
			}
			if err := libraries[name].read(t, a, data, value); err != nil {
				t.Fatal(pairText(readerText, writerText, name, err))
			}
		}
	})
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%5d %s", counts[what], what)
	}
	for name := range libraries {
		if counts[name+": compatible"] == 0 || counts[name+": incompatible"] == 0 {
			t.Errorf("%s was hardly asked", name)
		}
	}
}

func readAsTwmb(_ *rapid.T, a asked, data []byte, want any) error {
	both, err := twmb.Resolve(twmb.MustParse(a.writerText), twmb.MustParse(a.readerText))
	if err != nil {
		return err
	}
	var got any
	if _, err := both.Decode(data, &got, twmb.TaggedUnions()); err != nil {
		return err
	}
	if !likeGeneric(a.reader, want, got) {
		return fmt.Errorf("% x is %#v, not %#v", data, got, want)
	}
	return nil
}

func readAsHamba(_ *rapid.T, a asked, data []byte, want any) error {
	r, err := avro.ParseWithCache(a.readerText, "", &avro.SchemaCache{})
	if err != nil {
		return err
	}
	w, err := avro.ParseWithCache(a.writerText, "", &avro.SchemaCache{})
	if err != nil {
		return err
	}
	both, err := avro.NewSchemaCompatibility().Resolve(r, w)
	if err != nil {
		return err
	}
	var got any
	// A configuration of its own: decoders, too, are kept by fingerprint.
	if err := (avro.Config{}).Freeze().Unmarshal(both, data, &got); err != nil {
		return err
	}
	if !likeGeneric(a.reader, want, got) {
		return fmt.Errorf("% x is %#v, not %#v", data, got, want)
	}
	return nil
}

// likeGeneric compares with what libraries decode into an any: a union's value with or
// without the branch's name. Values of logical types are not compared.
func likeGeneric(s *Schema, want, got any) bool {
	if m, ok := got.(map[string]any); ok && len(m) == 1 && s.Type != Union {
		if v, ok := m[s.FullName()]; ok { // the writer's union, which the reader does not have
			got = v
		}
	}
	if s.Logical != NoLogical {
		return true
	}
	switch want := want.(type) {
	case refUnion:
		b := s.Branches[want.branch]
		if m, ok := got.(map[string]any); ok && len(m) == 1 {
			for _, v := range m {
				if likeGeneric(b, want.value, v) {
					return true
				}
			}
		}
		return likeGeneric(b, want.value, got)
	case refSymbol:
		return got == string(want)
	case refFixed:
		return fmt.Sprintf("%x", string(want)) == fmt.Sprintf("%x", got)
	case refRecord:
		m, ok := got.(map[string]any)
		for _, f := range s.Fields {
			ok = ok && likeGeneric(f.Type, want[f.Name], m[f.Name])
		}
		return ok && len(m) == len(s.Fields)
	case []any:
		list, ok := got.([]any)
		ok = ok && len(list) == len(want)
		for i := range want {
			ok = ok && likeGeneric(s.Items, want[i], list[i])
		}
		return ok
	case refMap:
		m, ok := got.(map[string]any)
		for _, e := range want {
			v, has := m[e.key]
			ok = ok && has && likeGeneric(s.Items, e.value, v)
		}
		return ok
	}
	return fmt.Sprint(want) == fmt.Sprint(got) // an int is an int, whatever its size
}
