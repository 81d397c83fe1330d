package gen

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/runnel-cdc/runnel/internal/words"
	"github.com/runnel-cdc/runnel/schemas"
)

// names is a set of identifiers in use.
type names map[string]bool

// claim takes name, or the first of name_2, name_3, ... that is free.
func (n names) claim(name string) string {
	free := name
	for i := 2; n[free]; i++ {
		free = fmt.Sprintf("%s_%d", name, i)
	}
	n[free] = true
	return free
}

// initialisms are written in capitals, as Go does. The list never changes:
// generated names depend on it.
var initialisms = map[string]bool{
	"API": true, "CPU": true, "HTML": true, "HTTP": true, "HTTPS": true, "ID": true, "IP": true, "JSON": true,
	"RPC": true, "SKU": true, "SQL": true, "TLS": true, "UI": true, "URI": true, "URL": true, "UTC": true,
	"UUID": true, "XML": true,
}

// GoName returns the Go name that a record, an enum, a fixed or a field has when
// nothing else has taken it. Two fields of one record with the same GoName clash.
func GoName(avro string) string { return exported(avro) }

// GoSymbol returns the end of the Go constant for an enum's symbol, likewise.
func GoSymbol(avro string) string { return exportedSymbol(avro) }

// GoMethods are what generated structs have as methods, and so not as fields.
func GoMethods() []string { return slices.Clone(methodNames) }

// exported turns an Avro name into an exported Go identifier: order_id and
// orderId become OrderID, ORDER_ID too.
func exported(avro string) string {
	shouted := strings.Contains(strings.Trim(avro, "_"), "_") && avro == strings.ToUpper(avro)
	var b strings.Builder
	for _, word := range words.Split(avro) {
		switch upper := strings.ToUpper(word); {
		case initialisms[upper]:
			b.WriteString(upper)
		case shouted:
			b.WriteString(title(strings.ToLower(word)))
		default:
			b.WriteString(title(word))
		}
	}
	if name := b.String(); name != "" && unicode.IsUpper(rune(name[0])) {
		return name
	}
	return "X" + b.String() // only underscores, or a digit first
}

// exportedSymbol is exported for an enum's symbols: words in capitals are
// written as words, except that a single one of up to three letters (DHL, EUR)
// stays.
func exportedSymbol(avro string) string {
	if avro == strings.ToUpper(avro) && !strings.Contains(avro, "_") && len(avro) > 3 && !initialisms[avro] {
		avro = strings.ToLower(avro)
	}
	return exported(avro)
}

// snake writes a Go name for a file.
func snake(name string) string { return strings.Join(words.Split(name), "_") }

func title(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

func lowerFirst(name string) string { return strings.ToLower(name[:1]) + name[1:] }

// typeNames names every type, given in the order of full names. Types whose Go
// names are equal take as many of the last parts of their namespaces as tell
// them apart. All names without such a clash are settled first.
func typeNames(types []*schemas.Schema, taken names) map[string]string {
	groups := make(map[string][]*schemas.Schema)
	for _, s := range types {
		groups[exported(s.Name)] = append(groups[exported(s.Name)], s)
	}
	named := make(map[string]string, len(types))
	for _, s := range types {
		if len(groups[exported(s.Name)]) == 1 {
			named[s.FullName()] = taken.claim(exported(s.Name))
		}
	}
	for _, s := range types {
		if group := groups[exported(s.Name)]; len(group) > 1 {
			named[s.FullName()] = taken.claim(qualified(s, distinctParts(group)))
		}
	}
	return named
}

// distinctParts is how many parts of the namespaces make the names of a group
// distinct, or the most there are: then claim settles the rest.
func distinctParts(group []*schemas.Schema) int {
	longest := 0
	for _, s := range group {
		longest = max(longest, strings.Count(s.Namespace, ".")+1)
	}
	for n := 1; n < longest; n++ {
		distinct := make(names)
		for _, s := range group {
			distinct[qualified(s, n)] = true
		}
		if len(distinct) == len(group) {
			return n
		}
	}
	return longest
}

// qualified puts the last n parts of the namespace before the name.
func qualified(s *schemas.Schema, n int) string {
	parts := strings.Split(s.Namespace, ".")
	parts = parts[max(0, len(parts)-n):]
	var b strings.Builder
	for _, part := range slices.Concat(parts, []string{s.Name}) {
		if part != "" {
			b.WriteString(exported(part))
		}
	}
	return b.String()
}
