package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/config"
)

// configResult holds the effective values; secrets are hidden.
type configResult struct {
	File   string         `json:"file"` // "" when none was read
	Values []config.Entry `json:"values"`
}

func (r configResult) text(p *printer) {
	refused := map[int]bool{} // rows
	rows := [][]string{{"KEY", "VALUE", "ORIGIN"}}
	for _, e := range r.Values {
		value, origin := e.Text(), e.Origin
		if value == "" {
			value = "-"
		}
		if e.At != "" {
			origin += " " + e.At
		}
		if e.Refused != "" {
			refused[len(rows)] = true
			origin += ", refused"
		}
		rows = append(rows, []string{e.Key, clean(value), clean(origin)})
	}
	p.table(rows, func(row, column int, text string) string {
		switch {
		case row == 0:
			return p.paint(bold, text)
		case refused[row] && column > 0:
			return p.paint(red, text)
		case column == 2:
			return p.paint(faint, text)
		}
		return text
	})
}

func configSpec() *spec {
	return &spec{
		use:     "config",
		short:   "Look at the configuration",
		long:    "Commands on the configuration: flags, environment and runnel.yaml together.",
		example: "  runnel config show",
		sub: []*spec{{
			use:   "show",
			short: "Print every value and where it came from",
			long: `Prints every configuration value in effect and its origin: flag, environment
variable, place in the file, or default, in this precedence. Secrets are hidden.
The environment variable of a key a.b is RUNNEL_A_B.

Values that are refused are shown too, as they were given; then every mistake is
reported with its place, and the exit code is 2.`,
			example: "  runnel config show\n  runnel config show -o json --config /etc/runnel.yaml",
			flags: func(cmd *cobra.Command) { // all that carry configuration in any command
				addHTTPFlag(cmd)
				addLogFlags(cmd)
				addRoleFlags(cmd)
			},
			run: func(_ context.Context, c *call) (any, error) {
				cfg, err := c.config()
				entries := cfg.Entries()
				if entries == nil {
					return nil, err
				}
				return configResult{cfg.File, entries}, err
			},
		}},
	}
}
