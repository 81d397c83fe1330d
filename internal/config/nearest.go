package config

import "strings"

// Nearest returns the candidate closest to word, or "" if none is close: at
// most a third of its letters (and at least one) wrong, missing, superfluous
// or swapped with the neighbour. In a dotted candidate the last part may match
// alone.
func Nearest(word string, candidates []string) string {
	if len(word) > 100 { // no key is; the distance is quadratic
		return ""
	}
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		d := distance(word, c)
		if i := strings.LastIndexByte(c, '.'); i >= 0 && strings.LastIndexByte(word, '.') < 0 {
			d = min(d, distance(word, c[i+1:]))
		}
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance of two short strings.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
