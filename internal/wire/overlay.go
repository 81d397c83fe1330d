package wire

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"time"
)

// overlay is a folder of the operating system's with files laid over it, as far as
// schemas.Load looks at one.
type overlay struct {
	root  string
	files map[string][]byte // by name within root
}

func (o overlay) Open(name string) (fs.File, error) { return anyPath{}.Open(name) }

func (o overlay) Stat(name string) (fs.FileInfo, error) {
	info, err := os.Stat(name)
	if name == o.root && errors.Is(err, fs.ErrNotExist) {
		return overlaid{path.Base(name), true}, nil
	}
	return info, err
}

func (o overlay) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(name)
	if name != o.root {
		return entries, err
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return o.files[e.Name()] != nil })
	for _, file := range slices.Sorted(maps.Keys(o.files)) {
		entries = append(entries, overlaid{file, false})
	}
	return entries, nil
}

func (o overlay) ReadFile(name string) ([]byte, error) {
	if data := o.files[path.Base(name)]; data != nil && name == path.Join(o.root, path.Base(name)) {
		return data, nil
	}
	return os.ReadFile(name)
}

// overlaid is what is known of an entry that is not there.
type overlaid struct {
	name string
	dir  bool
}

func (e overlaid) Name() string               { return e.name }
func (e overlaid) IsDir() bool                { return e.dir }
func (e overlaid) Type() fs.FileMode          { return e.Mode().Type() }
func (e overlaid) Info() (fs.FileInfo, error) { return e, nil }
func (e overlaid) Size() int64                { return 0 }
func (e overlaid) ModTime() time.Time         { return time.Time{} }
func (e overlaid) Sys() any                   { return nil }

func (e overlaid) Mode() fs.FileMode {
	if e.dir {
		return fs.ModeDir
	}
	return 0
}
