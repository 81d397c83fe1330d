package schemas

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// ParseBeside is Parse for a file of a folder: a type that it does not define may be in
// another *.avsc file of the same folder of fsys. They are looked at only when a type is
// missed. One that does not parse matters only if it is named after that type.
func ParseBeside(fsys fs.FS, file string, src []byte) (*Schema, error) {
	p := newParser()
	p.beside = &neighbours{fsys: fsys, dir: path.Dir(file), added: make(map[string]bool)}
	return parse(p, src, file)
}

// maxNeighbours bounds the files that are looked at.
const maxNeighbours = maxSchemaTypes

// neighbours are the files of a folder, by the types that they define.
type neighbours struct {
	fsys fs.FS
	dir  string
	// own holds the type that a file is for, inner those inside it, broken the names of
	// files that do not parse; own is nil until somebody asks.
	own, inner, broken map[string][]string
	added              map[string]bool // files
}

// defining returns the files that define a type; of those for another type none, if
// there is one for this: what is inside may be of another version.
func (n *neighbours) defining(full string) []string {
	if n.own == nil {
		n.read()
	}
	for _, files := range [][]string{n.own[full], n.inner[full], n.broken[full]} {
		if len(files) > 0 {
			return files
		}
	}
	return n.broken[full[strings.LastIndexByte(full, '.')+1:]]
}

func (n *neighbours) read() {
	n.own, n.inner, n.broken = make(map[string][]string), make(map[string][]string), make(map[string][]string)
	entries, _ := fs.ReadDir(n.fsys, n.dir) // of a folder that cannot be read, all types are missed
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !strings.HasSuffix(e.Name(), ".avsc") })
	for _, e := range entries[:min(len(entries), maxNeighbours)] {
		file := path.Join(n.dir, e.Name())
		src, ok := n.source(file)
		if !ok {
			continue
		}
		p := newParser()
		doc := p.add(src, file)
		if doc == nil {
			base := strings.TrimSuffix(e.Name(), ".avsc")
			n.broken[base] = append(n.broken[base], file)
			continue
		}
		for _, s := range p.types {
			in := n.inner
			if s == doc.declared[0] {
				in = n.own
			}
			in[s.FullName()] = append(in[s.FullName()], file)
		}
	}
}

// source reads a file, as much of it as the parser takes; no pipe, which may never end.
func (n *neighbours) source(file string) ([]byte, bool) {
	if info, err := fs.Stat(n.fsys, file); err != nil || !info.Mode().IsRegular() {
		return nil, false
	}
	f, err := n.fsys.Open(file)
	if err != nil {
		return nil, false
	}
	defer func() { _ = f.Close() }() // only read
	src, err := io.ReadAll(io.LimitReader(f, maxSchemaBytes+1))
	return src, err == nil
}

// named returns the type of a full name, wherever it is; nil if it is nowhere.
func (p *parser) named(full string) *Schema {
	if s, ok := p.names[full]; ok || p.beside == nil {
		return s
	}
	for _, file := range p.beside.defining(full) {
		if p.beside.added[file] {
			continue
		}
		p.beside.added[file] = true
		if src, ok := p.beside.source(file); ok {
			p.add(src, file) // finish builds it
		}
	}
	return p.names[full]
}
