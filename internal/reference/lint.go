package reference

import (
	"bytes"
	"fmt"

	"github.com/runnel-cdc/runnel/schemas/lint"
)

// categories say what each category of rules is about.
var categories = []struct {
	category     lint.Category
	title, about string
}{
	{lint.Topic, "Topics", "What spoils a topic for its readers. Pulsar takes such a schema, and then refuses later ones, or readers fail. Most of this\nis refused by the parser already: invalid defaults, unions and names are faults ([errors](errors.md#schemas-and-catalog))."},
	{lint.Types, "Types", "Values that are not what they seem. Avro is silent about most of it: what does not fit is ignored."},
	{lint.Names, "Names", "A name that is published cannot be changed, so look at it before that."},
	{lint.Docs, "Docs", "Docs go to the registry with the schema, and into generated code. They are no part of a version: they may be added to any\nschema at any time."},
	{lint.Folders, "Catalog", "The folder as a whole."},
}

// lintPage lists the rules of `runnel schemas lint` by category.
func lintPage() []byte {
	var b bytes.Buffer
	b.WriteString(header)
	b.WriteString(`# Lint rules

` + "`runnel schemas lint`" + ` looks a catalog through for what Avro allows and people regret, and asks no server. Each finding has
its place, a rule, and what to do:

` + "```text" + `
schemas/OrderPlaced.avsc:8:5: ATTRIBUTE_MISPLACED OrderPlaced.placed_at has a logicalType beside its type, where it is ignored
  → Put it inside the type: "type": {"type": "long", "logicalType": "timestamp-micros"}.
1 error, 0 warnings
` + "```" + `

An error does harm, or will: the exit code is 2. A warning is likely to, or merely unclear: warnings alone exit with 0, unless
` + "`--strict`" + `. A file that does not parse, and a mistake in ` + "`catalog.yaml`" + `, give their faults, by their [codes](errors.md#schemas-and-catalog), which cannot be ignored.
Rules may be added; they are not renamed. ` + "`runnel schemas lint --rules`" + ` lists them.

What ` + "`runnel schemas gen avsc`" + ` wrote from a [watched table](watched-tables.md) is as the table is, so only errors are looked for in it.

## Leave a finding out

In ` + "`catalog.yaml`" + `, in the folder of the schemas. The file is strict: an unknown key, and an entry that leaves nothing out,
are findings.

` + "```yaml" + `
lint:
  ignore:
    - UUID_AS_STRING                                     # a rule, everywhere
    - {rule: FIELD_WITHOUT_DOC, path: OrderPlaced.note}  # at a field
    - {rule: FIELD_NAME_STYLE, path: shop.OrderPlaced}   # at a type and its fields
    - {rule: FIELD_WITHOUT_DOC, path: "Legacy*"}         # at all that fit
` + "```" + `

For one run: ` + "`runnel schemas lint --ignore UUID_AS_STRING,FILE_NAME`" + `.

## In a build

` + "`--format github`" + ` prints annotations, which GitHub shows at the lines of a pull request; ` + "`--format jsonl`" + ` prints a line of JSON
each (path, line, col, rule, severity, subject, message, fix), and ` + "`-o json`" + ` all in one envelope. Paths begin with the folder
as it was given, so give it relative to the repository's root:

` + "```yaml" + `
- run: runnel schemas lint --format github ./schemas
` + "```" + `

A Go test of your own can do the same with package [lint](../schemas/lint/doc.go).
`)
	for _, c := range categories {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", c.title, c.about)
		for _, r := range lint.Rules() {
			if r.Category == c.category {
				fmt.Fprintf(&b, "\n### %s\n\n%s %s *%s.*\n", r.ID, r.Finds, r.Why, severities[r.Severity])
			}
		}
	}
	return b.Bytes()
}

var severities = map[lint.Severity]string{lint.Error: "Error", lint.Warning: "Warning"}
