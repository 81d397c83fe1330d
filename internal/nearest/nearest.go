// Package nearest finds what a person probably meant by a word that is not
// known: a key, a flag, a field, a type.
package nearest

import "strings"

// longest bounds the words that are looked at: the distance is quadratic.
const longest = 200

// Of returns the candidate closest to word, or "" if none is close: at most a
// third of the letters (of two, one) may be mistaken.
func Of(word string, candidates []string) string {
	if len(word) == 2 {
		return Within(1, word, candidates)
	}
	return Within(len(word)/3, word, candidates)
}

// Within returns the candidate closest to word, or "" if more than limit letters
// are mistaken: wrong, missing, superfluous or swapped with the neighbour. Case
// counts for nothing. In a dotted candidate the last part may match alone.
func Within(limit int, word string, candidates []string) string {
	if word == "" || len(word) > longest {
		return ""
	}
	word = strings.ToLower(word)
	best, bestDistance := "", limit+1
	for _, c := range candidates {
		lower := strings.ToLower(c)
		d := distance(word, lower, bestDistance)
		if i := strings.LastIndexByte(lower, '.'); i >= 0 && !strings.Contains(word, ".") {
			d = min(d, distance(word, lower[i+1:], bestDistance))
		}
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the optimal string alignment distance of two short strings, or
// limit when it is not below.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, above, row = above, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return min(row[len(b)], limit)
}
