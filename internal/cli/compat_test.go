package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Files made to take forever, or too deep: each is answered.
func TestCompatOfHostileFiles(t *testing.T) {
	wide := func(kind string) string {
		var b strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&b, `,{"name":"f%d","type":%q}`, i, kind)
		}
		return `{"type":"record","name":"R","fields":[` + b.String()[1:] + `]}`
	}
	chain := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `{"type":"record","name":"R%d","fields":[{"name":"n","type":["null",`, i)
		}
		return b.String() + `"int"` + strings.Repeat(`]}]}`, n)
	}
	flat := func(n int) string { // the same chain, by names
		var b strings.Builder
		b.WriteString(`["null"`)
		for i := range n {
			fmt.Fprintf(&b, `,{"type":"record","name":"R%d","fields":[{"name":"n","type":["null","R%d"]}]}`, i, (i+1)%n)
		}
		return b.String() + "]"
	}
	ring := func(n int, definitions, prefix string) string { // of types with one unqualified name
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,{"type":"record","name":"%s%d.L","fields":[{"name":"n","type":["null","%[1]s%[3]d.L"]}]}`, prefix, i, (i+1)%n)
		}
		return `{"type":"record","name":"R","fields":[{"name":"` + definitions + `","type":["null"` + b.String() + `],"default":null},{"name":"first","type":"` + prefix + `0.L"}]}`
	}
	large := `{"type":"record","name":"R","doc":"` + strings.Repeat("x", 2<<20) + `","fields":[]}`
	for _, c := range []struct {
		name, reader, writer string
		exit                 int
		says                 string
	}{
		{"1,000 fields", wide("long"), wide("int"), 0, "; 0 errors, 0 warnings"},
		{"1,000 findings", wide("int"), wide("long"), 2, "; 1000 errors, 0 warnings"},
		{"2 MB", large, large, 0, "compatible"},
		{"5 MB", strings.Repeat(" ", 6<<20), large, 2, "SCHEMA_TOO_LARGE"},
		{"10,000 deep", chain(10_000), chain(10_000), 2, "SCHEMA_TOO_LARGE"},
		{"10,000 deep by names", flat(10_000), flat(10_000), 2, "SCHEMA_TOO_LARGE"},
		{"4,000 deep by names", flat(4000), flat(4000), 0, "compatible"},
		{"rings whose types meet each other", ring(40, "x", "n"), ring(39, "y", "n"), 0, "compatible"},
		{"long rings whose types meet each other", ring(4000, "x", "n"), ring(3999, "y", "n"), 2, "COMPARISON_TOO_LARGE"},
		{"too many branches of one name", ring(4000, "x", "n"), ring(4000, "x", "m"), 2, "COMPARISON_TOO_LARGE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			reader, writer := filepath.Join(dir, "reader.avsc"), filepath.Join(dir, "writer.avsc")
			for file, text := range map[string]string{reader: c.reader, writer: c.writer} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			code, stdout, stderr := run(t, deps{}, "schemas", "compat", "--reader", reader, "--writer", writer)
			if code != c.exit || !strings.Contains(stdout+stderr, c.says) {
				t.Errorf("exit code %d\n%.2000s\n%.2000s", code, stdout, stderr)
			}
		})
	}
}
