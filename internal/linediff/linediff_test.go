package linediff

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDiff(t *testing.T) {
	for _, tc := range []struct{ want, got, diff string }{
		{"", "", ""},
		{"a b c", "a b c", ""},
		{"a b c", "a x c", "  a|- b|+ x|  c|"},
		{"", "a", "+ a|"},
		{"a", "", "- a|"},
		{"a b", "b a", "- a|  b|+ a|"},
	} {
		if diff := strings.ReplaceAll(Diff(strings.Fields(tc.want), strings.Fields(tc.got)), "\n", "|"); diff != tc.diff {
			t.Errorf("%q, %q: %q, want %q", tc.want, tc.got, diff, tc.diff)
		}
	}
}

// Both texts can be read out of the difference.
func TestDiffKeepsBoth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 8)
		want, got := texts.Draw(t, "want"), texts.Draw(t, "got")
		diff := Diff(want, got)
		if diff == "" {
			if !slices.Equal(want, got) {
				t.Fatal("no difference is shown")
			}
			return
		}
		var left, right []string
		for line := range strings.Lines(diff) {
			mark, text := line[:2], strings.TrimSuffix(line[2:], "\n")
			if mark != "+ " {
				left = append(left, text)
			}
			if mark != "- " {
				right = append(right, text)
			}
		}
		if !slices.Equal(left, want) || !slices.Equal(right, got) {
			t.Fatalf("%q", diff)
		}
	})
}
