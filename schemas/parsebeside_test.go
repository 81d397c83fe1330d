package schemas

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"
	"testing/fstest"
)

// besideFS are files of the folder s.
func besideFS(files map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys["s/"+name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

const (
	orderOfMoney = `{"type":"record","name":"shop.Order","fields":[{"name":"total","type":"Money"}]}`
	shopMoney    = `{"type":"record","name":"shop.Money","fields":[{"name":"in","type":"Currency"}]}`
	bareMoney    = `{"type":"fixed","name":"Money","size":1}`
	currency     = `{"type":"enum","name":"shop.Currency","symbols":["EUR"]}`
	// Another version of the order has its types inside.
	whole = `{"type":"record","name":"shop.Was","fields":[{"name":"total","type":{"type":"fixed","name":"Money","size":2}}]}`
)

func TestParseBeside(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  string // the type of total: kind and place; or the error
	}{
		"a file of its own":         {map[string]string{"Money.avsc": shopMoney, "Currency.avsc": currency}, "record s/Money.avsc:1:1"},
		"its namespace comes first": {map[string]string{"A.avsc": bareMoney, "Z.avsc": shopMoney, "Currency.avsc": currency}, "record s/Z.avsc:1:1"},
		"without a namespace":       {map[string]string{"Money.avsc": bareMoney}, "fixed s/Money.avsc:1:1"},
		"inside another":            {map[string]string{"Was.avsc": whole}, "fixed s/Was.avsc:1:69"},
		"its own before inside":     {map[string]string{"A.avsc": whole, "Money.avsc": shopMoney, "Currency.avsc": currency}, "record s/Money.avsc:1:1"},
		"twice":                     {map[string]string{"A.avsc": shopMoney, "B.avsc": shopMoney, "Currency.avsc": currency}, "s/B.avsc:1:25: SCHEMA_DUPLICATE_NAME"},
		"what is not needed":        {map[string]string{"Money.avsc": bareMoney, "A.avsc": "{", "B.avsc": `{"type":"record","name":"B","fields":[{"name":"x","type":"Nothing"}]}`}, "fixed s/Money.avsc:1:1"},
		"broken":                    {map[string]string{"Money.avsc": "{"}, "s/Money.avsc:1:2: SCHEMA_SYNTAX"},
		"broken, by its full name":  {map[string]string{"shop.Money.avsc": "{"}, "s/shop.Money.avsc:1:2: SCHEMA_SYNTAX"},
		"needs what is not there":   {map[string]string{"Money.avsc": shopMoney}, "s/Money.avsc:1:68: SCHEMA_UNRESOLVED_REFERENCE"},
		"nowhere":                   {map[string]string{"Money.json": bareMoney, "deep/Money.avsc": bareMoney}, "s/Order.avsc:1:71: SCHEMA_UNRESOLVED_REFERENCE"},
	} {
		t.Run(name, func(t *testing.T) {
			c.files["Order.avsc"] = orderOfMoney
			s, err := ParseBeside(besideFS(c.files), "s/Order.avsc", []byte(orderOfMoney))
			got := fmt.Sprint(err)
			if err == nil {
				got = fmt.Sprint(s.Fields[0].Type.Type, " ", s.Fields[0].Type.Pos)
			}
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// Nothing is looked at while nothing is missed, and no pipe ever; a large file is told of.
func TestParseBesideReadsNoMore(t *testing.T) {
	if _, err := ParseBeside(denied{}, "s/Money.avsc", []byte(bareMoney)); err != nil {
		t.Error(err)
	}
	_, err := ParseBeside(denied{}, "s/Order.avsc", []byte(orderOfMoney))
	wantFault(t, err, ErrUnresolvedReference)
	pipe := fstest.MapFS{"s/Money.avsc": {Mode: fs.ModeNamedPipe, Data: []byte(bareMoney)}}
	_, err = ParseBeside(pipe, "s/Order.avsc", []byte(orderOfMoney))
	wantFault(t, err, ErrUnresolvedReference)
	large := besideFS(map[string]string{"Money.avsc": bareMoney + strings.Repeat(" ", maxSchemaBytes)})
	if _, err := ParseBeside(large, "s/Order.avsc", []byte(orderOfMoney)); !errors.Is(err, ErrSchemaTooLarge) {
		t.Error(err)
	}
}

// A file with its neighbours is what the catalog makes of it.
func TestParseBesideIsTheCatalog(t *testing.T) {
	fsys := os.DirFS("..")
	const dir = "examples/quickstart/schemas"
	c, err := Load(fsys, dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range c.Events() {
		src, err := fs.ReadFile(fsys, e.Schema.Pos.File)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ParseBeside(fsys, path.Join(dir, path.Base(e.Schema.Pos.File)), src)
		if err != nil || s.Fingerprint() != e.Schema.Fingerprint() {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
}
