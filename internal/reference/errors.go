package reference

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/faultlist"
)

// classes are the exit codes, in words.
var classes = map[fault.Class]string{
	fault.Runtime:     "failed at run time",
	fault.Input:       "wrong input, or findings",
	fault.Environment: "something around Runnel: a connection, a grant, a setting",
}

// errorsPage lists every fault code by area.
func errorsPage() []byte {
	var b bytes.Buffer
	b.WriteString(header)
	b.WriteString(`# Errors

Every error that a person can meet has a stable code. Messages may be reworded; codes are not renamed or reused.
On the command line an error says where, what, and what to do; ` + "`-o json`" + ` gives the same as fields:

` + "```text" + `
schemas/Order.avsc:7:12: SCHEMA_UNRESOLVED_REFERENCE no type is named "Street"
→ Add the .avsc file that defines the type, or correct the name.
` + "```" + `

The exit code tells whose matter it is:

| exit code | meaning |
|---|---|
`)
	for _, c := range []fault.Class{fault.Runtime, fault.Input, fault.Environment} {
		fmt.Fprintf(&b, "| %d | %s |\n", c, classes[c])
	}
	b.WriteString(`
A daemon that meets one of them either starts its run over by itself (connections, brokers and databases that are
down), or halts: it stays up, unready, publishes nothing more, shows the code in ` + "`runnel status`, `/status` and the metric\n`runnel_halted{code}`" + `, and looks again every 30 s.
`)
	for _, area := range faultlist.Areas() {
		fmt.Fprintf(&b, "\n## %s\n", area.Title)
		codes := slices.SortedFunc(slices.Values(area.Codes), func(a, b *fault.Code) int { return cmp.Compare(a.ID, b.ID) })
		for _, c := range codes {
			fmt.Fprintf(&b, "\n### %s\n\n%s *Exit code %d.*\n\n%s\n", c.ID, c.Cause, c.Class, remedy(c.Remedy))
		}
	}
	return b.Bytes()
}

// remedy makes Markdown of a remedy: its indented lines become a block.
func remedy(text string) string {
	prose, sql, found := strings.Cut(text, "\n  ")
	if !found {
		return prose
	}
	return prose + "\n\n```sql\n" + strings.ReplaceAll(sql, "\n  ", "\n") + "\n```"
}
