package schemas

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/runnel-cdc/runnel/internal/fault"
)

func TestLoad(t *testing.T) {
	c := sampleCatalog(t)
	var names []string
	for _, e := range c.Events() {
		names = append(names, e.Name+"@"+e.AggregateType)
		again, err := ParseEventType(e.JSON)
		if err != nil || again.Fingerprint != e.Fingerprint || again.JSON != e.JSON || again.AggregateType != e.AggregateType {
			t.Errorf("%s is not the same from its own JSON: %v\n%s", e.Name, err, e.JSON)
		}
	}
	if got, want := strings.Join(names, " "), "CategoryMoved@category shop.OrderCancelled@order shop.OrderPaid@order shop.OrderPlaced@order"; got != want {
		t.Errorf("events %s, want %s", got, want)
	}
	if n := len(c.Types()); n != 13 {
		t.Errorf("%d types", n)
	}
	if _, ok := c.Event("OrderPlaced"); ok {
		t.Error("an event was found without its namespace")
	}
}

func TestLoadFaults(t *testing.T) {
	files := func(texts ...string) fstest.MapFS {
		fsys := fstest.MapFS{"s": {Mode: 0o755 | 1<<31}}
		for i, text := range texts {
			fsys["s/"+string(rune('a'+i))+".avsc"] = &fstest.MapFile{Data: []byte(text)}
		}
		return fsys
	}
	enum := `{"type":"enum","name":"x.E","symbols":["A"]}`
	for name, c := range map[string]struct {
		fsys  fs.FS
		code  *fault.Code
		where string
	}{
		"denied":         {denied{}, ErrCatalogUnreadable, "s"},
		"no folder":      {fstest.MapFS{}, ErrCatalogMissing, "s"},
		"empty":          {files(), ErrCatalogEmpty, "s"},
		"duplicate":      {files(enum, "\n"+enum), ErrDuplicateName, "s/b.avsc:2:23"},
		"unresolved":     {files(enum, `{"type":"record","name":"R","fields":[{"name":"e","type":"E"}]}`), ErrUnresolvedReference, "s/b.avsc:1:58"},
		"syntax":         {files(enum, `{"type":`), ErrSyntax, "s/b.avsc:1:9"},
		"not named":      {files(enum, `["null","x.E"]`), ErrSyntax, "s/b.avsc:1:1"},
		"default's type": {files(enum, `{"type":"record","name":"R","fields":[{"name":"e","type":"x.E","default":"B"}]}`), ErrInvalidDefault, "s/b.avsc:1:74"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(c.fsys, "s")
			wantFault(t, err, c.code)
			if got := fault.Find(err).Where; got != c.where {
				t.Errorf("at %s, want %s: %v", got, c.where, err)
			}
		})
	}
	_, err := Load(files(`{`, `{"type":"enum","name":"1","symbols":["A"]}`), "s")
	if !errors.Is(err, ErrSyntax) || !errors.Is(err, ErrInvalidName) {
		t.Errorf("not all files were reported: %v", err)
	}
	_, err = Load(files(enum, `{"type":"record","name":"R","fields":[{"name":"e","type":"E"}]}`), "s")
	wantFault(t, err, ErrUnresolvedReference, `Did you mean "x.E"?`)
}

// The order of files plays no part, and neither does where a shared type is.
func TestLoadInAnyOrder(t *testing.T) {
	event := `{"type":"record","name":"Z","aggregate":"a","fields":[{"name":"m","type":"Money"}]}`
	money := `{"type":"record","name":"Money","fields":[{"name":"x","type":"long"}]}`
	var prints []Fingerprint
	for _, fsys := range []fstest.MapFS{
		{"a.avsc": {Data: []byte(event)}, "b.avsc": {Data: []byte(money)}},
		{"a.avsc": {Data: []byte(money)}, "b.avsc": {Data: []byte(event)}},
		{"a.avsc": {Data: []byte(strings.Replace(event, `"Money"`, money, 1))}, "b.txt": {Data: []byte("no schema")}},
	} {
		c, err := Load(fsys, ".")
		if err != nil {
			t.Fatal(err)
		}
		e, _ := c.Event("Z")
		prints = append(prints, e.Fingerprint)
	}
	if prints[0] != prints[1] || prints[0] != prints[2] {
		t.Errorf("fingerprints %v", prints)
	}
}

func TestParseEventTypeFaults(t *testing.T) {
	_, err := ParseEventType(`{"type":"record","name":"R","fields":[]}`)
	wantFault(t, err, ErrNotAnEvent, "aggregate")
	_, err = ParseEventType(`{`)
	wantFault(t, err, ErrSyntax)
	defer func() {
		if recover() == nil {
			t.Error("MustEventType did not panic")
		}
	}()
	MustEventType(`"int"`)
}

// Files that are fine each may make a definition that is too deep.
func TestLoadBoundsDepth(t *testing.T) {
	fsys := make(fstest.MapFS)
	for i := range 200 {
		text := fmt.Sprintf(`{"type":"record","name":"R%d","fields":[{"name":"f","type":"R%d"}]}`, i, i+1)
		if i == 0 {
			text = event("R0", `{"name":"f","type":"R1"}`)
		}
		fsys[fmt.Sprintf("%d.avsc", i)] = &fstest.MapFile{Data: []byte(text)}
	}
	fsys["last.avsc"] = &fstest.MapFile{Data: []byte(`{"type":"record","name":"R200","fields":[]}`)}
	_, err := Load(fsys, ".")
	wantFault(t, err, ErrSchemaTooLarge, "R0 with all its types", "0.avsc:1:1")
}

// denied is a file system that this process may not read.
type denied struct{}

func (denied) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}
