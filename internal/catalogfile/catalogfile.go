package catalogfile

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/runnel-cdc/runnel/internal/nearest"
	"github.com/runnel-cdc/runnel/internal/strictyaml"
	"github.com/runnel-cdc/runnel/schemas"
)

// Name is what the file is called, in the folder of the schemas.
const Name = "catalog.yaml"

// File is what catalog.yaml says. The zero value is that of no file.
type File struct {
	Lint Lint
	// Compatibility is the level of all events; "" when nothing is said.
	Compatibility Level
	// Topics and Events are what is said of a topic, by its local name, and of an event.
	Topics, Events map[string]Entry
	Waivers        []Waiver
}

// Lint says what `runnel schemas lint` leaves out.
type Lint struct {
	Ignore []Ignore
}

// Ignore leaves out the findings of one rule.
type Ignore struct {
	Rule string
	// Path is where: a type's full name, a field as type.field, or a glob of
	// either (as of path.Match); "" is everywhere.
	Path string
	Pos  schemas.Pos
}

// Read reads the catalog.yaml of a folder; one that is not there says nothing.
// The error joins a *fault.Error for each mistake. The File is then what could be
// read all the same.
func Read(fsys fs.FS, dir string) (File, error) {
	name := path.Join(dir, Name)
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, nil
	}
	if err != nil {
		return File{}, ErrUnreadable.Wrap(err, "opening it").At("%s", name)
	}
	defer func() { _ = f.Close() }()
	src, err := io.ReadAll(io.LimitReader(f, strictyaml.MaxFile+1))
	if err != nil {
		return File{}, ErrUnreadable.Wrap(err, "reading it").At("%s", name)
	}
	return Parse(name, src)
}

// Parse reads the text of a catalog.yaml, as Read does.
func Parse(name string, src []byte) (File, error) {
	r := &reader{name: name}
	root, bad := strictyaml.Parse(src)
	switch {
	case bad != nil:
		r.fail(ErrSyntax.New("%s", bad.Message).At("%s", bad.Place.In(name)))
	case root != nil:
		r.file(root)
	}
	return r.out, errors.Join(r.errs...)
}

type reader struct {
	name string
	out  File
	errs []error
}

func (r *reader) fail(err error) { r.errs = append(r.errs, err) }

func (r *reader) place(node ast.Node) string { return strictyaml.PlaceOf(node).In(r.name) }

func (r *reader) pos(node ast.Node) schemas.Pos {
	p := strictyaml.PlaceOf(node)
	return schemas.Pos{File: r.name, Line: p.Line, Col: p.Col}
}

func (r *reader) file(root ast.Node) {
	r.keys(root, "", "a mapping of sections", map[string]func(*ast.MappingValueNode){
		"lint":          r.lint,
		"compatibility": func(entry *ast.MappingValueNode) { r.out.Compatibility = r.level(entry, "compatibility") },
		"topics":        func(entry *ast.MappingValueNode) { r.out.Topics = r.entries(entry, "topics") },
		"events":        func(entry *ast.MappingValueNode) { r.out.Events = r.entries(entry, "events") },
		"waivers": func(entry *ast.MappingValueNode) {
			for _, item := range r.list(entry, "waivers: want a list of waivers") {
				r.waiver(item)
			}
		},
	})
}

func (r *reader) lint(section *ast.MappingValueNode) {
	r.keys(section.Value, "lint.", "a mapping with ignore", map[string]func(*ast.MappingValueNode){
		"ignore": func(entry *ast.MappingValueNode) {
			for _, item := range r.list(entry, "lint.ignore: want a list of rules") {
				r.ignore(item)
			}
		},
	})
}

// ignore reads a rule's id, or a mapping of rule and path.
func (r *reader) ignore(item ast.Node) {
	ignore := Ignore{Pos: r.pos(item)}
	if text, kind, _ := strictyaml.Scalar(item); kind == strictyaml.Text {
		ignore.Rule = text
		r.out.Lint.Ignore = append(r.out.Lint.Ignore, ignore)
		return
	}
	before := len(r.errs)
	r.keys(item, "lint.ignore: ", "a rule, or a mapping of rule and path", map[string]func(*ast.MappingValueNode){
		"rule": func(entry *ast.MappingValueNode) {
			ignore.Rule = r.text(entry, "lint.ignore: rule: want the id of a rule")
		},
		"path": func(entry *ast.MappingValueNode) {
			ignore.Path = r.text(entry, "lint.ignore: path: want a type or type.field")
			if _, err := path.Match(ignore.Path, ""); err != nil {
				r.fail(ErrValue.New("lint.ignore: path: %q is no glob", ignore.Path).At("%s", r.place(entry.Value)).
					Fix("Write a type, type.field, or a glob with *, ? and [...]."))
			}
		},
	})
	switch {
	case len(r.errs) > before:
	case ignore.Rule == "":
		r.fail(ErrType.New("lint.ignore: the rule is missing").At("%s", r.place(item)).Fix("Write {rule: RULE, path: OrderPlaced.note}."))
	default:
		r.out.Lint.Ignore = append(r.out.Lint.Ignore, ignore)
	}
}

// keys calls the function of each key of a mapping, and refuses other keys.
// prefix stands before keys in messages. Nothing at all is an empty mapping.
func (r *reader) keys(node ast.Node, prefix, want string, read map[string]func(*ast.MappingValueNode)) {
	if node.Type() == ast.NullType {
		return
	}
	entries, ok := strictyaml.Entries(node)
	if !ok {
		_, _, found := strictyaml.Scalar(node)
		r.fail(ErrType.New("%swant %s, found %s", sentence(prefix), want, found).At("%s", r.place(node)).Fix("Write %s.", want))
		return
	}
	for _, entry := range entries {
		name, ok := strictyaml.Key(entry)
		if !ok {
			r.fail(ErrSyntax.New("a key must be a name followed by a value").At("%s", r.place(entry)))
			continue
		}
		if f := read[name]; f != nil {
			f(entry)
			continue
		}
		var known []string
		for key := range read {
			known = append(known, key)
		}
		slices.Sort(known)
		e := ErrUnknownKey.New("%.100q is not a key", prefix+name).At("%s", r.place(entry.Key)).Fix("Write %s.", either(known))
		if near := nearest.Of(name, known); near != "" {
			e = e.Fix("Did you mean %s?", near)
		}
		r.fail(e)
	}
}

// either joins names: a; a or b; a, b or c.
func either(names []string) string {
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// sentence makes of a prefix of keys one of a message.
func sentence(prefix string) string {
	if section, ok := strings.CutSuffix(prefix, "."); ok {
		return section + ": "
	}
	return prefix
}

// list returns the items of a list; want says what it must be.
func (r *reader) list(entry *ast.MappingValueNode, want string) []ast.Node {
	switch node := entry.Value.(type) {
	case *ast.SequenceNode:
		return slices.DeleteFunc(slices.Clone(node.Values), func(n ast.Node) bool { return n == nil })
	case *ast.NullNode:
		return nil
	}
	_, _, found := strictyaml.Scalar(entry.Value)
	r.fail(ErrType.New("%s, found %s", want, found).At("%s", r.place(entry.Value)))
	return nil
}

// text returns an entry's text; want says what it must be.
func (r *reader) text(entry *ast.MappingValueNode, want string) string {
	text, kind, found := strictyaml.Scalar(entry.Value)
	if kind != strictyaml.Text || text == "" {
		r.fail(ErrType.New("%s, found %s", want, found).At("%s", r.place(entry)))
		return ""
	}
	return text
}
