package lint

import (
	"strings"

	"github.com/runnel-cdc/runnel/schemas"
)

// tableTypes returns the types that were made from watched tables: the events
// XChanged and XDeleted of a record XRow with its key XKey, and what they are made
// of. They cannot be edited, as the table says what they are.
func tableTypes(c *schemas.Catalog) map[*schemas.Schema]bool {
	types := make(map[*schemas.Schema]bool)
	for _, e := range c.Events() {
		prefix, ok := strings.CutSuffix(e.Name, "Changed")
		if !ok || !isRowChange(e.Schema, prefix) {
			continue
		}
		types[e.Schema] = true
		collect(e.Schema, types)
		if d, ok := c.Event(prefix + "Deleted"); ok && hasType(d.Schema, 0, "key", prefix+"Key") {
			types[d.Schema] = true
			collect(d.Schema, types)
		}
	}
	return types
}

func isRowChange(s *schemas.Schema, prefix string) bool {
	return hasType(s, 0, "operation", "RowOperation") && hasType(s, 1, "row", prefix+"Row")
}

// hasType reports whether field i is called name and is of the named type.
func hasType(s *schemas.Schema, i int, name, typ string) bool {
	return len(s.Fields) > i && s.Fields[i].Name == name && s.Fields[i].Type.FullName() == typ
}
