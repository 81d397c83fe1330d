package schemas

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawPair draws a schema and an evolution of it, in one direction or the other:
// a random schema, or one of a pair of the corpus against the evolution of either.
func drawPair(t *rapid.T, seeds []corpusPair) (reader, writer *Schema, readerText, writerText string) {
	var before, after string
	if n := evenly(t, 2*len(seeds)); n < len(seeds) {
		before, after = seeds[n].reader, seeds[n].writer
		if rapid.Bool().Draw(t, "same") {
			after = before
		}
		after = evolved(t, after)
	} else {
		r := &randomSchema{t: t, plain: rapid.Bool().Draw(t, "plain")}
		before = schemaText(r.record(3))
		after = evolved(t, before)
	}
	if rapid.Bool().Draw(t, "back") {
		before, after = after, before
	}
	parse := func(text string) *Schema {
		s, err := Parse([]byte(text), "")
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return s
	}
	return parse(after), parse(before), after, before
}

// checkOften is rapid.Check with other numbers of draws, unless -rapid.checks is given.
func checkOften(t *testing.T, times int, property func(*rapid.T)) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if before := checks.Value.String(); before == checks.DefValue {
		if testing.Short() {
			times /= 20
		}
		if err := checks.Value.Set(strconv.Itoa(times)); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = checks.Value.Set(before) }() // it was valid
	}
	rapid.Check(t, property)
}

// evenly draws a number below n; rapid's own ranges prefer the small ones.
func evenly(t *rapid.T, n int) int {
	h := fnv.New32a()
	_, _ = h.Write(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "evenly")) // never fails
	return int(h.Sum32() % uint32(n))
}

func pairText(reader, writer string, more ...any) string {
	return fmt.Sprintf("reader %s\nwriter %s\n%s", reader, writer, strings.TrimSuffix(fmt.Sprintln(more...), "\n"))
}

// The verdict is right: by the reference, there is a value of the writer's that
// cannot be read exactly when there is an error by a rule of the specification; and
// what Resolver makes of every value is what the reference makes of it.
func TestVerdictAgainstReference(t *testing.T) {
	seeds := readCorpus(t)
	var compatible, incompatible, letters, ours int
	hits := map[string]int{}
	checkOften(t, 2000, func(t *rapid.T) {
		reader, writer, readerText, writerText := drawPair(t, seeds)
		findings := Compatibility(reader, writer)
		for _, f := range findings {
			hits[f.Rule.ID]++
		}
		allowed := bySpecification(findings) == saysCompatible
		resolver, err := NewResolver(writer, reader)
		if (err == nil) == Incompatible(findings) || err != nil && !errors.Is(err, ErrIncompatible) {
			t.Fatal(pairText(readerText, writerText, findings, err))
		}
		var failing any // data
		letterFails := false
		for unfold := 0; unfold < 4 && failing == nil; unfold++ {
			if unfold == 2 && allowed {
				break // no deeper than needed where nothing should fail
			}
			for _, data := range newSampler(unfold, 3000).values(writer) {
				value, _ := refDecode(writer, data)
				want, err := reference{}.resolve(value, writer, reader)
				if err != nil {
					failing = data
				}
				if _, err := (reference{byLetter: true}).resolve(value, writer, reader); err != nil {
					letterFails = true
				}
				if resolver != nil {
					compareResolved(t, resolver, data, want, findings, readerText, writerText)
				}
			}
		}
		if (failing == nil) != allowed {
			t.Fatal(pairText(readerText, writerText, "findings", findings, "; a value that fails:", failing))
		}
		if letterFails == allowed && !hasRule(findings, ruleBranchAmbiguous) {
			t.Fatal(pairText(readerText, writerText, "by the letter it is otherwise, and nothing says so", findings))
		}
		switch {
		case !allowed:
			incompatible++
		case resolver == nil:
			ours++
		default:
			compatible++
			data := appendRandom(t, nil, writer, 5, inBlocks)
			value, _ := refDecode(writer, data)
			want, err := reference{}.resolve(value, writer, reader)
			if err != nil {
				t.Fatal(pairText(readerText, writerText, err))
			}
			compareResolved(t, resolver, data, want, findings, readerText, writerText)
		}
		if letterFails == allowed {
			letters++
		}
	})
	t.Logf("%d compatible, %d not, %d not by rules of our own; %d otherwise by the letter; findings %v", compatible, incompatible, ours, letters, hits)
	if compatible == 0 || incompatible == 0 {
		t.Error("the draw is one-sided")
	}
}

// compareResolved compares what our decoder makes of data with what is wanted. It
// may refuse values only where a warning says so.
func compareResolved(t *rapid.T, resolver *Resolver, data []byte, want any, findings []Finding, readerText, writerText string) {
	got, err := resolver.Append(nil, data)
	if err != nil {
		if !hasRule(findings, ruleNarrowed) || !errors.Is(err, ErrInvalidAvro) {
			t.Fatal(pairText(readerText, writerText, findings, err))
		}
		return
	}
	if err := Validate(resolver.reader, got); err != nil {
		t.Fatal(pairText(readerText, writerText, err))
	}
	value, _ := refDecode(resolver.reader, got)
	if !reflect.DeepEqual(value, want) && fmt.Sprintf("%#v", value) != fmt.Sprintf("%#v", want) { // NaN
		t.Fatal(pairText(readerText, writerText, fmt.Sprintf("% x\ngot  %#v\nwant %#v", data, value, want)))
	}
}

func hasRule(findings []Finding, rule *Rule) bool {
	for _, f := range findings {
		if f.Rule == rule {
			return true
		}
	}
	return false
}

// A schema reads its own data, without any finding.
func TestVerdictOnItself(t *testing.T) {
	seeds := readCorpus(t)
	checkOften(t, 500, func(t *rapid.T) {
		_, writer, _, text := drawPair(t, seeds)
		again, err := Parse([]byte(writer.JSON()), "")
		if err != nil {
			t.Fatal(err)
		}
		if findings := Compatibility(again, writer); len(findings) > 0 {
			t.Fatalf("%s: %v", text, findings)
		}
	})
}
