package evolution

import (
	"fmt"
	"strings"

	"github.com/runnel-cdc/runnel/schemas"
)

// renamed finds the fields of an older version, each with a default, that the new one has
// under another name, with the former as an alias. (Without a default an older reader
// fails, which compatibility finds.)
func renamed(was, now *schemas.Schema) []schemas.Finding {
	before, after := flatten(was), flatten(now)
	to := make(map[string]*schemas.Field) // by the path under a former name
	for path, f := range after.fields {
		parent := path[:strings.LastIndexByte(path, '.')+1]
		for _, alias := range f.Aliases {
			to[parent+alias] = f
		}
	}
	var all []schemas.Finding
	for _, path := range before.lines {
		f, now := before.fields[path], to[path]
		if f == nil || f.Default == nil || now == nil || after.fields[path] != nil {
			continue
		}
		all = append(all, schemas.Finding{
			Rule: FieldRenamed, Path: path, Reader: f.Pos, Writer: now.Pos, Fix: FieldRenamed.Fix,
			Message: fmt.Sprintf("the field is now called %s, and the reader takes its default, %.100s", now.Name, f.Default),
		})
	}
	return all
}
