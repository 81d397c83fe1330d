package schemas

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// evolution changes a schema, as a JSON tree, here and there. What it makes may be
// no schema: then the change is taken back.
type evolution struct {
	t     *rapid.T
	names int
	root  any
}

// evolved returns text after one to four changes.
func evolved(t *rapid.T, text string) string {
	e := &evolution{t: t}
	for n := rapid.IntRange(1, 4).Draw(t, "changes"); n > 0; n-- {
		if err := json.Unmarshal([]byte(text), &e.root); err != nil {
			t.Fatal(err)
		}
		e.change()
		if next := schemaText(e.root); parses(next) {
			text = next
		}
	}
	return text
}

func parses(text string) bool {
	_, err := Parse([]byte(text), "")
	return err == nil
}

func (e *evolution) pick(n int) int { return rapid.IntRange(0, n-1).Draw(e.t, "pick") }

func (e *evolution) fresh(prefix string) string {
	e.names++
	return fmt.Sprintf("%s%d", prefix, e.names)
}

// place is a schema in the tree that can be replaced.
type place struct {
	node any
	set  func(any)
}

// places lists all schemas of the tree.
func (e *evolution) places() []place {
	var out []place
	var walk func(p place)
	walk = func(p place) {
		out = append(out, p)
		switch v := p.node.(type) {
		case []any:
			for i := range v {
				walk(place{v[i], func(x any) { v[i] = x }})
			}
		case map[string]any:
			for _, key := range []string{"items", "values"} {
				if inner, ok := v[key]; ok {
					walk(place{inner, func(x any) { v[key] = x }})
				}
			}
			fields, _ := v["fields"].([]any)
			for _, f := range fields {
				field := f.(map[string]any)
				walk(place{field["type"], func(x any) { field["type"] = x }})
			}
		}
	}
	walk(place{e.root, func(x any) { e.root = x }})
	return out
}

func (e *evolution) change() {
	all := e.places()
	p := all[e.pick(len(all))]
	switch v := p.node.(type) {
	case string:
		e.changeName(p, v)
	case []any:
		e.changeUnion(p, v)
	case map[string]any:
		switch v["type"] {
		case "record":
			if e.pick(5) == 0 {
				e.rename(v)
			} else {
				e.changeFields(v)
			}
		case "enum":
			e.changeEnum(v)
		case "fixed":
			if e.pick(2) == 0 {
				e.rename(v)
			} else {
				v["size"] = v["size"].(float64) + float64(e.pick(2))
			}
		case "array":
			e.changeItems(p, "map", "values", v["items"])
		case "map":
			e.changeItems(p, "array", "items", v["values"])
		default:
			e.changeLogical(p, v)
		}
	}
}

// changeName changes a primitive type, or takes a copy of a type that is referred
// to, under another namespace.
func (e *evolution) changeName(p place, name string) {
	if primitives[name] == 0 {
		e.unroll(p, name)
		return
	}
	switch e.pick(6) {
	case 0:
		p.set([]any{"null", name})
	case 1:
		p.set([]any{name, plainTypes[e.pick(len(plainTypes))]})
	case 2:
		p.set(plainTypes[e.pick(len(plainTypes))])
	case 3:
		p.set(logicalOf[e.pick(len(logicalOf))])
	default:
		wider := map[string][]string{"int": {"long", "float", "double"}, "long": {"float", "double", "int"}, "float": {"double"}, "string": {"bytes"}, "bytes": {"string"}}[name]
		if len(wider) > 0 {
			p.set(wider[e.pick(len(wider))])
		}
	}
}

// unroll replaces a reference by a copy of what it refers to, with the same
// unqualified names in a namespace of its own.
func (e *evolution) unroll(p place, name string) {
	for _, q := range e.places() {
		v, ok := q.node.(map[string]any)
		if !ok || v["name"] != name {
			continue
		}
		var tree any
		if err := json.Unmarshal([]byte(schemaText(v)), &tree); err != nil {
			e.t.Fatal(err)
		}
		c := &evolution{t: e.t, root: tree}
		space := e.fresh("u")
		for _, inner := range c.places() {
			if d, ok := inner.node.(map[string]any); ok && d["name"] != nil {
				old := d["name"].(string)
				d["name"] = space + "." + old[strings.LastIndexByte(old, '.')+1:]
				c.refer(old, d["name"].(string))
			}
		}
		p.set(c.root)
		return
	}
}

// refer changes references.
func (e *evolution) refer(from, to string) {
	for _, p := range e.places() {
		if p.node == from {
			p.set(to)
		}
	}
}

// rename gives a type another name or namespace, with or without an alias.
func (e *evolution) rename(v map[string]any) {
	old := v["name"].(string)
	name := e.fresh("N")
	if e.pick(2) == 0 {
		name = "other." + old[strings.LastIndexByte(old, '.')+1:]
	}
	v["name"] = name
	delete(v, "aliases")
	switch e.pick(3) {
	case 0:
		v["aliases"] = []any{old}
	case 1:
		v["aliases"] = []any{"gone.away", old}
	}
	// A name without a namespace would inherit one.
	e.refer(old, name)
}

func (e *evolution) changeItems(p place, kind, key string, items any) {
	switch e.pick(4) {
	case 0:
		p.set(map[string]any{"type": kind, key: items})
	case 1:
		p.set([]any{p.node, "null"})
	case 2:
		p.set(items)
	}
}

func (e *evolution) changeUnion(p place, union []any) {
	switch i := e.pick(len(union)); e.pick(6) {
	case 0:
		p.set(slices.Delete(slices.Clone(union), i, i+1))
	case 1:
		p.set(union[i])
	case 2:
		p.set(slices.Insert(slices.Clone(union), i, plainTypes[e.pick(len(plainTypes))]))
	case 3:
		p.set(slices.Insert(slices.Clone(union), i, any(map[string]any{"type": "record", "name": e.fresh("A"), "fields": []any{}})))
	case 4:
		p.set(append(slices.Clone(union[i:]), union[:i]...))
	case 5: // another of the same unqualified name
		v, ok := union[i].(map[string]any)
		if name, named := v["name"].(string); ok && named {
			like := map[string]any{"type": v["type"], "name": e.fresh("like") + "." + name[strings.LastIndexByte(name, '.')+1:]}
			switch v["type"] {
			case "record":
				like["fields"] = []any{map[string]any{"name": "like", "type": "int"}}[:e.pick(2)]
			case "enum":
				like["symbols"] = []any{"A", "LIKE"}
			case "fixed":
				like["size"] = e.pick(4)
			}
			p.set(slices.Insert(slices.Clone(union), i, any(like)))
		}
	}
}

func (e *evolution) changeEnum(v map[string]any) {
	symbols := v["symbols"].([]any)
	switch i := e.pick(len(symbols)); e.pick(5) {
	case 0:
		v["symbols"] = slices.Insert(slices.Clone(symbols), i, any(e.fresh("S")))
	case 1:
		v["symbols"] = slices.Delete(slices.Clone(symbols), i, i+1)
	case 2:
		v["symbols"] = append(slices.Clone(symbols[i:]), symbols[:i]...)
	case 3:
		if delete(v, "default"); e.pick(2) == 0 {
			v["default"] = symbols[i]
		}
	case 4:
		e.rename(v)
	}
}

func (e *evolution) changeLogical(p place, v map[string]any) {
	switch e.pick(3) {
	case 0:
		p.set(v["type"])
	case 1:
		p.set(logicalOf[e.pick(len(logicalOf))])
	case 2:
		if v["logicalType"] == "decimal" {
			v["scale"] = e.pick(4)
		}
	}
}

func (e *evolution) changeFields(v map[string]any) {
	fields := v["fields"].([]any)
	if len(fields) == 0 || e.pick(5) == 0 {
		f := map[string]any{"name": e.fresh("new"), "type": plainTypes[e.pick(len(plainTypes))]}
		if e.pick(3) == 0 {
			f["type"] = []any{"null", f["type"]}
		}
		if e.pick(2) == 0 {
			withDefault(f)
		}
		v["fields"] = slices.Insert(slices.Clone(fields), e.pick(len(fields)+1), any(f))
		return
	}
	i := e.pick(len(fields))
	f := fields[i].(map[string]any)
	switch e.pick(6) {
	case 0:
		v["fields"] = slices.Delete(slices.Clone(fields), i, i+1)
	case 5: // one takes the place of two
		if j := e.pick(len(fields)); i != j {
			f["aliases"] = []any{fields[j].(map[string]any)["name"]}
			v["fields"] = slices.Delete(slices.Clone(fields), j, j+1)
		}
	case 1:
		old := f["name"]
		f["name"] = e.fresh("ren")
		delete(f, "aliases")
		if e.pick(3) > 0 {
			f["aliases"] = []any{"nobody", old}
		}
	case 2:
		v["fields"] = append(slices.Clone(fields[i:]), fields[:i]...)
	case 3:
		if _, has := f["default"]; has {
			delete(f, "default")
		} else {
			withDefault(f)
		}
	case 4: // a second name for a field that stays
		g := map[string]any{"name": e.fresh("twin"), "type": f["type"]}
		if _, plain := f["type"].(string); plain {
			v["fields"] = append(slices.Clone(fields), g)
		}
	}
}
