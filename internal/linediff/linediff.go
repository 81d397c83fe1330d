// Package linediff shows how two short texts differ, for the failures of tests.
package linediff

import "strings"

// Diff returns the lines of both texts in order: those of both after two blanks,
// those of want alone after "- ", those of got alone after "+ ". It is empty when
// the texts are equal. It takes time and memory in the product of the lengths.
func Diff(want, got []string) string {
	// common[i][j] is the length of the longest common subsequence of want[i:] and got[j:].
	common := make([][]int, len(want)+1)
	for i := range common {
		common[i] = make([]int, len(got)+1)
	}
	for i := len(want) - 1; i >= 0; i-- {
		for j := len(got) - 1; j >= 0; j-- {
			if want[i] == got[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var b strings.Builder
	differ := false
	line := func(mark, text string) {
		b.WriteString(mark + text + "\n")
		differ = differ || mark != "  "
	}
	i, j := 0, 0
	for i < len(want) || j < len(got) {
		switch {
		case i < len(want) && j < len(got) && want[i] == got[j]:
			line("  ", want[i])
			i, j = i+1, j+1
		case j == len(got) || i < len(want) && common[i+1][j] >= common[i][j+1]:
			line("- ", want[i])
			i++
		default:
			line("+ ", got[j])
			j++
		}
	}
	if !differ {
		return ""
	}
	return b.String()
}
