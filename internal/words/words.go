// Package words takes names apart into the words that they are made of.
package words

// Split splits a name at underscores and where capitals begin a word. A Go name
// is split the same way again: HTTPServer is HTTP, Server.
func Split(name string) []string {
	var found []string
	start := 0
	end := func(at int) {
		if at > start {
			found = append(found, name[start:at])
		}
		start = at
	}
	for i := range len(name) {
		switch {
		case name[i] == '_':
			end(i)
			start++
		case i == start || !isUpper(name[i]):
		case !isUpper(name[i-1]), i+1 < len(name) && isLower(name[i+1]): // after a small letter; the last of several capitals
			end(i)
		}
	}
	end(len(name))
	return found
}

func isUpper(c byte) bool { return 'A' <= c && c <= 'Z' }
func isLower(c byte) bool { return 'a' <= c && c <= 'z' }
