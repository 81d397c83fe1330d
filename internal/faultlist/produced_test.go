package faultlist

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var (
	codeID  = regexp.MustCompile(`\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*\b`)
	errName = regexp.MustCompile(`^Err[A-Z]\w*$`)
)

// expectations are the codes that tests expect, as package.Name or as an ID.
type expectations map[string]bool

// Every code is expected by some test, by its ID or by its variable. A test
// that expects a code fails when nothing produces it any more. One that makes
// the fault itself (ErrX.New), or lists codes to see how they are classed, shows
// nothing of that and does not count.
func TestProduced(t *testing.T) {
	root := os.DirFS("../..")
	names := make(map[string][]string) // variables of a code, as package.Name
	aliases := make(map[string]string) // package.Name to package.Name
	expected := make(expectations)
	err := fs.WalkDir(root, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(file, "faultlist") {
			return err
		}
		isGo, isTest := path.Ext(file) == ".go", strings.HasSuffix(file, "_test.go") || strings.Contains(file, "/contract/")
		isScript := path.Ext(file) == ".txtar"
		if !isGo && !isScript {
			return nil
		}
		src, err := fs.ReadFile(root, file)
		if err != nil {
			return err
		}
		if isScript {
			expected.text(string(src))
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if isTest {
			expected.test(parsed)
			return nil
		}
		definitions(parsed, names, aliases)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for alias, name := range aliases {
		if expected[alias] {
			expected[name] = true
		}
	}
	for _, c := range All() {
		found := expected[c.ID]
		for _, name := range names[c.ID] {
			found = found || expected[name]
		}
		if !found {
			t.Errorf("no test expects %s (%v)", c.ID, names[c.ID])
		}
	}
}

// text takes the IDs in a script or a string.
func (e expectations) text(s string) {
	for _, id := range codeID.FindAllString(s, -1) {
		e[id] = true
	}
}

// test takes what a test file expects.
func (e expectations) test(file *ast.File) {
	pkg := strings.TrimSuffix(file.Name.Name, "_test")
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			return !makesFault(n)
		case *ast.CompositeLit:
			return !listsCodes(n)
		case *ast.BasicLit:
			if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
				e.text(s)
			}
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && errName.MatchString(n.Sel.Name) {
				e[x.Name+"."+n.Sel.Name] = true
				return false
			}
		case *ast.Ident:
			if errName.MatchString(n.Name) {
				e[pkg+"."+n.Name] = true
			}
		}
		return true
	})
}

// makesFault reports whether a call is ErrX.New(...) or ErrX.Wrap(...), or one
// chained to it.
func makesFault(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	switch x := f.X.(type) {
	case *ast.CallExpr: // .At, .Fix
		return makesFault(x)
	case *ast.SelectorExpr:
		return isMaker(f.Sel.Name) && errName.MatchString(x.Sel.Name)
	case *ast.Ident:
		return isMaker(f.Sel.Name) && errName.MatchString(x.Name)
	}
	return false
}

func isMaker(method string) bool { return method == "New" || method == "Wrap" }

// listsCodes reports whether a literal is a []*fault.Code.
func listsCodes(lit *ast.CompositeLit) bool {
	list, ok := lit.Type.(*ast.ArrayType)
	if !ok {
		return false
	}
	pointer, ok := list.Elt.(*ast.StarExpr)
	if !ok {
		return false
	}
	of, ok := pointer.X.(*ast.SelectorExpr)
	return ok && of.Sel.Name == "Code"
}

// definitions takes the codes' variables of a file, ErrX = fault.Define("ID", ...),
// and other names for them, ErrY = other.ErrX.
func definitions(file *ast.File, names map[string][]string, aliases map[string]string) {
	pkg := file.Name.Name
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || len(spec.Values) != 1 || !errName.MatchString(spec.Names[0].Name) {
			return true
		}
		name := pkg + "." + spec.Names[0].Name
		switch v := spec.Values[0].(type) {
		case *ast.CallExpr:
			if f, ok := v.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "Define" {
				if id, ok := v.Args[0].(*ast.BasicLit); ok {
					if s, err := strconv.Unquote(id.Value); err == nil {
						names[s] = append(names[s], name)
					}
				}
			}
		case *ast.SelectorExpr:
			if x, ok := v.X.(*ast.Ident); ok {
				aliases[name] = x.Name + "." + v.Sel.Name
			}
		}
		return true
	})
}
