package schemas

import (
	"fmt"
	"strings"
	"testing"
)

// Schemas that are made to take forever, or to fill the stack: each is answered in
// a time that grows with its size. What is asked here is that the test ends.
func TestHostileSchemas(t *testing.T) {
	list := func(n int, item func(i int) string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = item(i)
		}
		return strings.Join(items, ",")
	}
	chain := func(n, fields int) string { // each holds the next, which is defined later
		return `["null",` + list(n, func(i int) string {
			next := fmt.Sprintf("C%d", i+1)
			if i == n-1 {
				next = "int"
			}
			return fmt.Sprintf(`{"type":"record","name":"C%d","fields":[%s]}`, i, list(fields, func(j int) string { return fmt.Sprintf(`{"name":"f%d","type":%q}`, j, next) }))
		}) + "]"
	}
	for name, text := range map[string]string{
		"a long chain of wide records":    chain(4000, 8),
		"very many names that nobody has": "[" + list(100_000, func(i int) string { return fmt.Sprintf(`"x%d"`, i) }) + "," + chain(4000, 1)[1:],
		"a line of very many characters":  `{"type":"enum","name":"E","symbols":[` + list(80_000, func(i int) string { return fmt.Sprintf(`"S%d"`, i) }) + `]}`,
		"types inside types":              strings.Repeat(`{"type":"array","items":`, 499) + `"int"` + strings.Repeat("}", 499),
		"a union of very many":            "[" + list(4000, func(i int) string { return fmt.Sprintf(`{"type":"fixed","name":"F%d","size":1}`, i) }) + "]",
		"very many unions of very many": "[" + list(100, func(i int) string { return fmt.Sprintf(`{"type":"fixed","name":"F%d","size":1}`, i) }) + `,{"type":"record","name":"R","fields":[` + list(500, func(i int) string {
			return fmt.Sprintf(`{"name":"f%d","type":[%s]}`, i, list(100, func(i int) string { return fmt.Sprintf(`"F%d"`, i) }))
		}) + "]}]",
		"a record of very many fields":     `{"type":"record","name":"R","fields":[` + list(30_000, func(i int) string { return fmt.Sprintf(`{"name":"f%d","type":"int"}`, i) }) + "]}",
		"a field of very many aliases":     `{"type":"record","name":"R","fields":[{"name":"f","type":"int","aliases":[` + list(60_000, func(i int) string { return fmt.Sprintf(`"a%d"`, i) }) + `]}]}`,
		"defaults of many unions, and bad": `{"type":"record","name":"R","fields":[{"name":"f","type":` + strings.Repeat(`["null",{"type":"map","values":`, 60) + `["null","int"]` + strings.Repeat("}]", 60) + `,"default":` + strings.Repeat(`{"a":`, 60) + `"x"` + strings.Repeat("}", 60) + `}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Parse([]byte(text), "")
			if err != nil {
				return
			}
			other := mustParse(t, text)
			findings := Compatibility(s, other)
			_, err = NewResolver(other, s)
			if (err == nil) == Incompatible(findings) || len(findings) > 0 && !hasRule(findings, ruleTooLarge) {
				t.Errorf("%d findings, %.500v", len(findings), err)
			}
		})
	}
}
