package schemas

import (
	"errors"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// Catalog is a folder of .avsc files: events, and the types they are made of.
// It is immutable and safe for concurrent use.
type Catalog struct {
	types  []*Schema
	events []*EventType
	byName map[string]*EventType
}

// Load reads every *.avsc file in dir and below it, in any order. Each file
// holds one named type and may refer to those of other files by full name.
//
// Load reports all problems of all files at once: the error joins one
// *fault.Error for each, with file:line:col. What Avro 1.11 does not allow is a
// problem: see Parse.
func Load(fsys fs.FS, dir string) (*Catalog, error) {
	names, err := schemaFiles(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrCatalogMissing.New("there is no folder %s", dir).At("%s", dir)
	}
	if err != nil {
		return nil, ErrCatalogUnreadable.Wrap(err, "reading the folder %s", dir).At("%s", dir)
	}
	if len(names) == 0 {
		return nil, ErrCatalogEmpty.New("%s holds no .avsc file", dir).At("%s", dir)
	}
	p := newParser()
	p.strict = true
	for _, name := range names {
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			p.errs = append(p.errs, ErrCatalogUnreadable.Wrap(err, "reading %s", name).At("%s", name))
			continue
		}
		if doc := p.add(src, name); doc != nil {
			p.requireNamed(doc)
		}
	}
	p.finish()
	if err := errors.Join(p.errs...); err != nil {
		return nil, err
	}
	c := newCatalog(p.types)
	for _, e := range c.events {
		// Types of many files, each inside the other, may be too deep as one text.
		if _, err := ParseEventType(e.JSON); err != nil {
			return nil, ErrSchemaTooLarge.Wrap(err, "%s with all its types", e.Name).At("%s", e.Schema.Pos)
		}
	}
	return c, nil
}

func schemaFiles(fsys fs.FS, dir string) ([]string, error) {
	var names []string
	err := fs.WalkDir(fsys, path.Clean(dir), func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(name, ".avsc") {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

func newCatalog(types []*Schema) *Catalog {
	c := &Catalog{byName: make(map[string]*EventType)}
	c.types = append(c.types, types...)
	sort.Slice(c.types, func(i, j int) bool { return c.types[i].FullName() < c.types[j].FullName() })
	for _, s := range c.types {
		if e := newEventType(s); e != nil {
			c.events = append(c.events, e)
			c.byName[e.Name] = e
		}
	}
	return c
}

// Events returns the events, sorted by name. The slice must not be changed.
func (c *Catalog) Events() []*EventType { return c.events }

// Event returns the event of that name.
func (c *Catalog) Event(name string) (*EventType, bool) {
	e, ok := c.byName[name]
	return e, ok
}

// Types returns all named types, events among them, sorted by full name. The
// slice must not be changed.
func (c *Catalog) Types() []*Schema { return c.types }
