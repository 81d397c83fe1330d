package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/schemas"
	"github.com/runnel-cdc/runnel/schemas/gen"
)

// keepName is added where a fix renames what may be published.
const keepName = " What is published already keeps its name: ignore the rule there."

var (
	upperCamel = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	upperSnake = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$`)
	lowerSnake = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	lowerCamel = regexp.MustCompile(`^[a-z][A-Za-z0-9]*$`)
)

func typeNameStyle(l *linter, s *schemas.Schema) {
	if !upperCamel.MatchString(s.Name) || len(s.Name) > 4 && s.Name == strings.ToUpper(s.Name) {
		fix := "Name it " + quoted(pascal(s.Name)) + "." + keepName
		if !upperCamel.MatchString(pascal(s.Name)) {
			fix = "Name it in UpperCamelCase." + keepName
		}
		l.atType(s, fix, "is not in UpperCamelCase")
	}
}

func pascal(name string) string {
	var b strings.Builder
	for _, w := range lower(name) {
		b.WriteString(strings.ToUpper(w[:1]) + w[1:])
	}
	return b.String()
}

func snake(name string) string { return strings.Join(lower(name), "_") }

func camel(name string) string {
	p := pascal(name)
	return strings.ToLower(p[:min(1, len(p))]) + p[min(1, len(p)):]
}

// fieldNameStyle takes the style that more fields have; snake_case when as many
// have the other. A name of one word is of both.
func fieldNameStyle(l *linter) {
	count := func(style, other *regexp.Regexp) (n int) {
		for _, s := range l.own() {
			for _, f := range s.Fields {
				if style.MatchString(f.Name) && !other.MatchString(f.Name) {
					n++
				}
			}
		}
		return n
	}
	style, write, what := lowerSnake, snake, "snake_case"
	if count(lowerCamel, lowerSnake) > count(lowerSnake, lowerCamel) {
		style, write, what = lowerCamel, camel, "lowerCamelCase"
	}
	for _, s := range l.own() {
		for _, f := range s.Fields {
			if style.MatchString(f.Name) {
				continue
			}
			fix := "Name it " + quoted(write(f.Name)) + "." + keepName
			if !style.MatchString(write(f.Name)) {
				fix = "Name it in " + what + "." + keepName
			}
			l.atField(s, f, fix, "is not in %s", what)
		}
	}
}

// own are the types that are not made from tables.
func (l *linter) own() []*schemas.Schema {
	return slices.DeleteFunc(slices.Clone(l.catalog.Types()), func(s *schemas.Schema) bool { return l.fromTable[s] })
}

func symbolNameStyle(l *linter, s *schemas.Schema) {
	var wrong []string
	for _, symbol := range s.Symbols {
		if !upperSnake.MatchString(symbol) {
			wrong = append(wrong, symbol)
		}
	}
	if len(wrong) == 0 {
		return
	}
	fix := "Name it " + quoted(strings.ToUpper(snake(wrong[0]))) + "." + keepName
	if !upperSnake.MatchString(strings.ToUpper(snake(wrong[0]))) {
		fix = "Name it in UPPER_SNAKE_CASE." + keepName
	}
	if len(wrong) > 1 {
		fix = "Name them in UPPER_SNAKE_CASE." + keepName
	}
	l.atType(s, fix, "has symbols that are not in UPPER_SNAKE_CASE: %s", listed(wrong))
}

// listed names some, and counts the rest.
func listed(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// reserved are the words of Java that Avro's code generator writes otherwise, with
// a $. It looks for the class of a type so named under the name itself.
var reserved = set(`_ Builder abstract assert boolean break byte case catch char class const continue default do double
	else enum extends false final finally float for goto if implements import instanceof int interface long native new null
	package private protected public return short static strictfp super switch synchronized this throw throws transient
	true try void volatile while`)

func nameReserved(l *linter, s *schemas.Schema) {
	if reserved[s.Name] {
		l.atType(s, "Name it otherwise."+keepName, "is a word that Java reserves: its class is %s$, and is not found when events are read", s.Name)
	}
	for _, part := range strings.Split(s.Namespace, ".") {
		if reserved[part] {
			l.atType(s, "Choose another namespace."+keepName, "has the namespace %s, and %s is a word that Java reserves: its package is called %s$", s.Namespace, part, part)
		}
	}
}

// alike tells of names that were seen before under another spelling. Go is how a
// name is in generated code; nil where that settles clashes well.
type alike struct{ byGo, folded map[string]string }

func newAlike() alike { return alike{make(map[string]string), make(map[string]string)} }

// clash returns the earlier name, and in what the two are alike.
func (a alike) clash(name, goName string) (other, how string) {
	fold := strings.ToLower(strings.ReplaceAll(name, "_", ""))
	byGo, folded := a.byGo[goName], a.folded[fold]
	if byGo == "" {
		a.byGo[goName] = name
	}
	if folded == "" {
		a.folded[fold] = name
	}
	switch {
	case byGo != "":
		return byGo, "both are " + goName + " in Go"
	case folded != "":
		return folded, "they differ in case and underscores only"
	}
	return "", ""
}

// membersAlike compares the fields of a record, and an enum's symbols.
func membersAlike(l *linter, s *schemas.Schema) {
	const fix = "Name one of them otherwise." + keepName
	seen := newAlike()
	for _, f := range s.Fields {
		if slices.Contains(gen.GoMethods(), gen.GoName(f.Name)) {
			l.atField(s, f, fix, "is %s in Go, as is a method of the generated type", gen.GoName(f.Name))
		}
		if other, how := seen.clash(f.Name, gen.GoName(f.Name)); other != "" {
			l.atField(s, f, fix, "is named almost as %s: %s", other, how)
		}
	}
	for _, symbol := range s.Symbols {
		if other, how := seen.clash(symbol, gen.GoSymbol(symbol)); other != "" {
			l.atType(s, fix, "has the symbols %s and %s: %s", other, symbol, how)
		}
	}
}

// typesAlike compares the types of each namespace: those of several are told apart
// by it in generated code.
func typesAlike(l *linter) {
	seen := make(map[string]alike)
	for _, s := range l.own() {
		if seen[s.Namespace].byGo == nil {
			seen[s.Namespace] = newAlike()
		}
		if other, how := seen[s.Namespace].clash(s.Name, gen.GoName(s.Name)); other != "" {
			l.atType(s, "Name one of them otherwise."+keepName, "is named almost as %s: %s", other, how)
		}
	}
}

// namespaceMixed takes what most types have, a namespace when as many have none.
func namespaceMixed(l *linter) {
	var with, without []*schemas.Schema
	count := make(map[string]int)
	common := ""
	for _, s := range l.own() {
		if s.Namespace == "" {
			without = append(without, s)
			continue
		}
		with = append(with, s)
		if count[s.Namespace]++; count[s.Namespace] > count[common] {
			common = s.Namespace
		}
	}
	if len(with) == 0 || len(without) == 0 {
		return
	}
	if len(without) > len(with) {
		for _, s := range with {
			l.atType(s, "Remove the namespace."+keepName, "has the namespace %s, and most types have none", s.Namespace)
		}
		return
	}
	for _, s := range without {
		l.atType(s, `Add "namespace": `+quoted(common)+"."+keepName, "has no namespace, and most types have one")
	}
}
