package strictyaml

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxFile bounds a file, in bytes; maxDepth its nesting, as the parser is
// recursive.
const (
	MaxFile  = 1 << 20
	maxDepth = 64
)

// Place is where a node begins, counted from 1. Zero means unknown.
type Place struct{ Line, Col int }

// In returns file:line:col, or the file alone when the place is not known.
func (p Place) In(file string) string {
	if p.Line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d:%d", file, p.Line, p.Col)
}

// Error is a text that is not the YAML that Parse reads.
type Error struct {
	Place   Place
	Message string // without anything of the text, which may hold a secret
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Parse returns the document's root, or nil when the text holds none.
func Parse(src []byte) (ast.Node, *Error) {
	if len(src) > MaxFile {
		return nil, &Error{Message: fmt.Sprintf("%d bytes are more than %d", len(src), MaxFile)}
	}
	if tooDeep(src) {
		return nil, &Error{Message: fmt.Sprintf("nested deeper than %d levels", maxDepth)}
	}
	file, err := parser.ParseBytes(src, 0)
	if err != nil {
		return nil, syntax(err)
	}
	var root ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if root != nil {
			return nil, &Error{PlaceOf(doc.Body), "a second document"}
		}
		root = doc.Body
	}
	if root != nil && root.Type() == ast.CommentType {
		return nil, nil
	}
	return root, nil
}

// syntax gives a parser's error our shape, without the source text in it.
func syntax(err error) *Error {
	var e yaml.Error
	if !errors.As(err, &e) {
		return &Error{Message: "not YAML"}
	}
	message, _, _ := strings.Cut(e.GetMessage(), "\n")
	return &Error{placeOf(e.GetToken()), message}
}

// Entries returns a mapping's entries; false for any other node.
func Entries(node ast.Node) ([]*ast.MappingValueNode, bool) {
	switch m := node.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	return nil, false
}

// Key returns an entry's key; false for one that is no plain text.
func Key(entry *ast.MappingValueNode) (string, bool) {
	s, ok := entry.Key.(*ast.StringNode)
	if !ok || s.Value == "" || entry.Value == nil {
		return "", false
	}
	return s.Value, true
}

// PlaceOf is where a node's first token stands.
func PlaceOf(node ast.Node) Place {
	switch n := node.(type) {
	case *ast.MappingValueNode:
		return placeOf(n.Key.GetToken())
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return placeOf(n.Values[0].Key.GetToken())
		}
		return placeOf(n.Start)
	}
	return placeOf(node.GetToken())
}

func placeOf(t *token.Token) Place {
	if t == nil || t.Position == nil {
		return Place{}
	}
	return Place{t.Position.Line, t.Position.Column}
}

// Kind is the type of a YAML scalar.
type Kind int

// The kinds that Runnel's files hold.
const (
	Text  Kind = iota
	Int        // a whole number
	Other      // everything else, lists and mappings among it
)

// Scalar returns a node's text and type, and what it is in words.
func Scalar(node ast.Node) (text string, k Kind, found string) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, Text, "text"
	case *ast.LiteralNode:
		return strings.TrimRight(n.Value.Value, "\n"), Text, "text"
	case *ast.IntegerNode:
		return n.Token.Value, Int, "a whole number"
	case *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "", Other, "a number"
	case *ast.BoolNode:
		return "", Other, "a truth value"
	case *ast.NullNode, nil:
		return "", Other, "nothing"
	case *ast.SequenceNode:
		return "", Other, "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "", Other, "a mapping"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "", Other, "an anchor or alias"
	}
	return "", Other, "a tag or directive"
}

// tooDeep guards the recursive parser: brackets and dashes nest within a line,
// indentation across lines.
func tooDeep(src []byte) bool {
	brackets, dashes := 0, 0
	for _, c := range src {
		switch c {
		case '[', '{':
			if brackets++; brackets > maxDepth {
				return true
			}
		case ']', '}':
			brackets = max(0, brackets-1)
		case '-', '?', ':', '&', '*', '!':
			if dashes++; dashes > 4*maxDepth {
				return true
			}
		case '\n':
			dashes = 0
		}
	}
	return false
}
