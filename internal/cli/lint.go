package cli

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/schemas/lint"
)

// ruleList names the rules without looking at files.
type ruleList struct {
	Rules []lintRule `json:"rules"`
}

type lintRule struct {
	ID       string `json:"id"`
	Category string `json:"category"`
	Severity string `json:"severity"`
	Finds    string `json:"finds"`
	Why      string `json:"why"`
}

func (l ruleList) text(p *printer) {
	rows := [][]string{{"RULE", "SEVERITY", "WHY"}}
	for _, r := range l.Rules {
		rows = append(rows, []string{r.ID, r.Severity, r.Why})
	}
	p.table(rows, func(row, _ int, text string) string {
		if row == 0 {
			return p.paint(bold, text)
		}
		return text
	})
}

func lintSpec() *spec {
	var ignore []string
	var rules bool
	var how findingFlags
	return &spec{
		use:   "lint [DIR]",
		short: "Look the catalog through for mistakes",
		long: `Looks through a folder of .avsc files, that of --schemas by default, for what Avro
allows and people regret: what spoils a topic, values that are not what they seem,
names, docs, files. No server is asked. Every finding has a place, a rule
(docs/lint-rules.md says why) and what to do. Files that do not parse are findings
too, as are levels, events and rules in catalog.yaml that there are not; none of them
keeps the others from being looked at.

What is meant to be as it is goes into catalog.yaml in that folder, for good:

  lint:
    ignore:
      - UUID_AS_STRING                                     # everywhere
      - {rule: FIELD_WITHOUT_DOC, path: OrderPlaced.note}  # a field, a type, or a glob

It exits with 2 when there is an error; warnings alone exit with 0, unless --strict.`,
		example: `  runnel schemas lint ./schemas
  runnel schemas lint --ignore FILE_NAME,TYPE_WITHOUT_DOC --strict
  runnel schemas lint --format github ./schemas
  runnel schemas lint --rules`,
		args: optionalArg("DIR"),
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringSliceVar(&ignore, "ignore", nil, "leave out the findings of these `rules`")
			cmd.Flags().BoolVar(&rules, "rules", false, "name the rules and look at nothing")
			how.add(cmd)
			var ids []string
			for _, r := range lint.Rules() {
				ids = append(ids, r.ID)
			}
			completeFrom(cmd, "ignore", ids...)
		},
		run: func(_ context.Context, c *call) (any, error) {
			if rules {
				return allLintRules(), nil
			}
			if err := how.check(c); err != nil {
				return nil, err
			}
			dir, err := c.folder()
			if err != nil {
				return nil, err
			}
			found, err := wire.Lint(dir, lint.Options{Ignore: ignore})
			if err != nil {
				return nil, err
			}
			// What else is wrong with these files, lint has found.
			catalog, _ := wire.Catalog(dir)
			file, _ := wire.CatalogFile(dir)
			_, err = settingsOf(file, catalog)
			wrong, _ := fileFindings(dir, err)
			all := append(lintFindings(found), wrong...)
			slices.SortStableFunc(all, byPlace)
			return how.result(all)
		},
	}
}

func allLintRules() ruleList {
	var l ruleList
	for _, r := range lint.Rules() {
		l.Rules = append(l.Rules, lintRule{r.ID, string(r.Category), string(r.Severity), r.Finds, r.Why})
	}
	return l
}

// folder is that of the schemas: the argument, or as configured.
func (c *call) folder() (string, error) {
	if len(c.args) == 0 {
		cfg, err := c.config("schemas")
		if err != nil {
			return "", err
		}
		return cfg.Schemas, nil
	}
	if c.cmd.Flags().Changed("schemas") {
		return "", ErrUsage.New("the folder is given twice, by --schemas and as an argument").Fix("Leave one of them out.")
	}
	if c.args[0] == "" {
		return "", ErrUsage.New("the folder's name is empty").Fix("Name a folder; the one at hand is `.`.")
	}
	return c.args[0], nil
}

func lintFindings(found []lint.Finding) []finding {
	out := make([]finding, len(found))
	for i, f := range found {
		out[i] = finding{
			Path: f.Pos.File, Line: f.Pos.Line, Col: f.Pos.Col, Rule: f.Rule, Severity: string(f.Severity),
			Subject: f.Path, Message: f.Message, Fix: f.Fix,
		}
	}
	return out
}
