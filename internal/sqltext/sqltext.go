// Package sqltext writes names and values into SQL that a person is to run, or that takes
// no parameters. The replication protocol's own commands have other rules: see capture.
package sqltext

import "strings"

// Literal returns text as a string constant, whatever standard_conforming_strings says.
func Literal(text string) string {
	quoted := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}
