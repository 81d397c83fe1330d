package config

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/nearest"
	"github.com/runnel-cdc/runnel/internal/strictyaml"
)

// A reader collects the scalars of one YAML text, and what is wrong with it.
type reader struct {
	file   string
	values map[string]fileValue
	errs   []error
}

// fileValue is a value with its place. For a list, routes is set.
type fileValue struct {
	text    string // of a refused one: what was found
	routes  []Route
	at      string      // file:line:col
	refused *fault.Code // nil if the value may be set
}

// readYAML reads a configuration file that was already loaded. whole tells that
// the file is a mapping, if with mistakes, so that values has what it holds.
func readYAML(file string, src []byte) (values map[string]fileValue, whole bool, errs []error) {
	r := &reader{file: file, values: map[string]fileValue{}}
	root := r.parse(src)
	whole = len(r.errs) == 0
	if root != nil {
		whole = root.Type() == ast.MappingType || root.Type() == ast.MappingValueType
		r.section("", root)
	}
	return r.values, whole, r.errs
}

// parseRoutes reads a list of routes outside a file.
func parseRoutes(text string) ([]Route, []error) {
	r := &reader{file: "routes", values: map[string]fileValue{}}
	var routes []Route
	if root := r.parse([]byte(text)); root != nil {
		routes = r.routes(root)
	}
	return routes, r.errs
}

// parse returns the document's root, or nil when it is empty or refused.
func (r *reader) parse(src []byte) ast.Node {
	root, err := strictyaml.Parse(src)
	if err != nil {
		r.fail(ErrSyntax.New("%s", err.Message).At("%s", err.Place.In(r.file)))
	}
	return root
}

// section walks a mapping whose keys continue prefix ("" or "postgres.").
func (r *reader) section(prefix string, node ast.Node) {
	for _, entry := range r.entries(node, "a mapping of keys to values") {
		name := r.key(entry)
		if name == "" {
			continue
		}
		key := prefix + name
		switch s := findSetting(key); {
		case isSection(key):
			if entry.Value.Type() != ast.NullType { // a section with nothing in it
				r.section(key+".", entry.Value)
			}
		case s == nil:
			r.unknown(entry, key, settingKeys(), prefix)
		case s.envOnly:
			r.values[key] = fileValue{text: Hidden, at: r.place(entry.Key), refused: ErrSecretInline}
			r.fail(ErrSecretInline.New("%s does not belong in the file", key).At("%s", r.place(entry.Key)).
				Fix("Set %s_file to a file that holds it, or the environment variable %s.", key, s.env()))
		default:
			r.leaf(s, entry)
		}
	}
}

func (r *reader) leaf(s *setting, entry *ast.MappingValueNode) {
	v, node := s.field(&Config{}), entry.Value
	if _, list := v.(routesValue); list {
		before := len(r.errs)
		value := fileValue{routes: r.routes(node), at: r.place(node)}
		if errs := r.errs[before:]; len(errs) > 0 {
			value.refused = fault.Find(errs[0]).Code // the reader's errors all have one
			value.text, _, _ = strings.Cut(strings.TrimSpace(node.String()), "\n")
		}
		r.values[s.key] = value
		return
	}
	text, k, found := strictyaml.Scalar(node)
	if !v.takes(k) || found == "a list" || found == "a mapping" {
		if found == "nothing" { // that has no place of its own
			node = entry
		}
		if text == "" {
			text = "(" + found + ")"
		}
		r.values[s.key] = fileValue{text: text, at: r.place(node), refused: ErrType}
		r.fail(r.wrongType(node, s.key, v.want(), found, k))
		return
	}
	r.values[s.key] = fileValue{text: text, at: r.place(node)}
}

var routeKeys = []string{"aggregate", "type", "topic"}

func (r *reader) routes(node ast.Node) []Route {
	if node.Type() == ast.NullType {
		return nil
	}
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		_, k, found := strictyaml.Scalar(node)
		r.fail(r.wrongType(node, "routes", routesValue{}.want(), found, k))
		return nil
	}
	var routes []Route
	for _, item := range list.Values {
		if item == nil {
			continue
		}
		route := Route{Aggregate: "*", Type: "*"}
		before := len(r.errs)
		for _, entry := range r.entries(item, "a mapping of aggregate, type and topic") {
			name := r.key(entry)
			if name == "" {
				continue
			}
			text, k, found := strictyaml.Scalar(entry.Value)
			switch {
			case !slices.Contains(routeKeys, name):
				r.unknown(entry, name, routeKeys, "")
				continue
			case k != strictyaml.Text || found == "a list" || found == "a mapping":
				r.fail(r.wrongType(entry.Value, "routes: "+name, "text", found, k))
				continue
			}
			switch name {
			case "aggregate":
				route.Aggregate = text
			case "type":
				route.Type = text
			case "topic":
				route.Topic = text
			}
		}
		if len(r.errs) == before {
			if err := checkRoute(route); err != nil {
				r.fail(ErrValue.New("routes: %s", err).At("%s", r.place(item)))
			}
		}
		routes = append(routes, route)
	}
	return routes
}

// entries returns a mapping's entries, reporting a node that is none.
func (r *reader) entries(node ast.Node, want string) []*ast.MappingValueNode {
	entries, ok := strictyaml.Entries(node)
	if !ok {
		_, _, found := strictyaml.Scalar(node)
		r.fail(ErrType.New("want %s, found %s", want, found).At("%s", r.place(node)))
	}
	return entries
}

// key returns an entry's key, "" after reporting one that is no plain text.
func (r *reader) key(entry *ast.MappingValueNode) string {
	name, ok := strictyaml.Key(entry)
	if !ok {
		r.fail(ErrSyntax.New("a key must be a name followed by a value").At("%s", r.place(entry)))
	}
	return name
}

func (r *reader) unknown(entry *ast.MappingValueNode, key string, known []string, prefix string) {
	e := ErrUnknownKey.New("%.100q is not a key", key).At("%s", r.place(entry.Key))
	near := nearest.Of(key, known)
	if near == "" && prefix != "" { // right name, wrong section
		near = nearest.Of(strings.TrimPrefix(key, prefix), known)
	}
	if near == "" {
		near = nearest.Of(key, sections(known))
	}
	if near != "" {
		e = e.Fix("Did you mean %s?", near)
	}
	r.fail(e)
}

// sections returns what stands before the last dot of each key that has one.
func sections(keys []string) (all []string) {
	for _, key := range keys {
		if i := strings.LastIndexByte(key, '.'); i >= 0 {
			all = append(all, key[:i])
		}
	}
	return all
}

func (r *reader) wrongType(node ast.Node, key, want, found string, k strictyaml.Kind) error {
	e := ErrType.New("%s: want %s, found %s", key, want, found).At("%s", r.place(node))
	switch k {
	case strictyaml.Int, strictyaml.Other:
		if found != "nothing" && !strings.HasPrefix(want, "a whole number") {
			return e.Fix("Write %s; put quotes around text that looks like a number or a truth value.", want)
		}
	}
	return e.Fix("Write %s.", want)
}

func (r *reader) fail(err error) { r.errs = append(r.errs, err) }

// place is file:line:col of a node's first token.
func (r *reader) place(node ast.Node) string { return strictyaml.PlaceOf(node).In(r.file) }

func settingKeys() []string {
	keys := make([]string, len(settings))
	for i, s := range settings {
		keys[i] = s.key
	}
	return keys
}
