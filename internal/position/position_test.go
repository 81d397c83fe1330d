package position

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func stamps() *rapid.Generator[Stamp] {
	return rapid.Custom(func(t *rapid.T) Stamp {
		return Stamp{Position{rapid.Uint32().Draw(t, "epoch"), rapid.Uint64().Draw(t, "lsn"), rapid.Uint32().Draw(t, "index")},
			rapid.Uint64().Draw(t, "ordinal")}
	})
}

func TestStampRoundTripAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := stamps().Draw(t, "a"), stamps().Draw(t, "b")
		for _, s := range []Stamp{a, b} {
			got, err := ParseStamp(s.String())
			if err != nil || got != s {
				t.Fatalf("ParseStamp(%q) = %v, %v", s.String(), got, err)
			}
			p, err := Parse(s.Position.String())
			if err != nil || p != s.Position {
				t.Fatalf("Parse(%q) = %v, %v", s.Position.String(), p, err)
			}
		}
		// The text sorts as bytes like the positions.
		if want := strings.Compare(a.Position.String(), b.Position.String()); a.Compare(b.Position) != want {
			t.Fatalf("Compare = %d, text says %d", a.Compare(b.Position), want)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	good := Stamp{Position{1, 2, 3}, 4}.String()
	for _, bad := range []string{"", good[1:], good + "0", strings.ToUpper(strings.Replace(good, "1", "a", 1)),
		strings.Replace(good, "-", "_", 1), " " + good[1:], strings.Replace(good, "1", "g", 1)} {
		if s, err := ParseStamp(bad); err == nil {
			t.Errorf("ParseStamp(%q) = %v, want an error", bad, s)
		}
	}
}

func FuzzParseStamp(f *testing.F) {
	f.Add(Stamp{Position{1, 0x16b3748, 2}, 9}.String())
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseStamp(text)
		if err == nil && s.String() != text {
			t.Fatalf("%q reads as %q", text, s.String())
		}
	})
}

func TestDigestSeesEveryDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seq := rapid.SliceOfN(rapid.Map(stamps(), func(s Stamp) Position { return s.Position }), 2, 20).Draw(t, "sequence")
		digest := func(s []Position) (d Digest) {
			for _, p := range s {
				d.Add(p)
			}
			return d
		}
		whole := digest(seq)
		i := rapid.IntRange(0, len(seq)-2).Draw(t, "at")
		dropped := append(append([]Position(nil), seq[:i]...), seq[i+1:]...)
		if digest(dropped) == whole {
			t.Fatal("a missing position is not seen")
		}
		if seq[i] != seq[i+1] {
			swapped := append([]Position(nil), seq...)
			swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
			if digest(swapped) == whole {
				t.Fatal("two swapped positions are not seen")
			}
		}
	})
}

func ExampleStamp() {
	s := Stamp{Position{Epoch: 1, LSN: 0x1BB82ED0, Index: 2}, 17}
	fmt.Println(s)
	texts := []string{s.String(), Stamp{Position{1, 0x1BB82ED0, 1}, 16}.String()}
	sort.Strings(texts)
	fmt.Println(texts[0])
	// Output:
	// 00000001-000000001bb82ed0-00000002-0000000000000011
	// 00000001-000000001bb82ed0-00000001-0000000000000010
}
