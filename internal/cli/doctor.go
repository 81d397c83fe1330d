package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/fault"
)

type doctorResult struct{ doctor.Report }

func (r doctorResult) text(p *printer) {
	look := map[doctor.Status]struct {
		fancy, plain string
		style        style
	}{
		doctor.Pass: {"✓", "ok", green}, doctor.Warn: {"!", "warn", yellow},
		doctor.Fail: {"✗", "FAIL", red}, doctor.Skip: {"-", "skip", faint},
	}
	width := 0
	for _, x := range r.Results {
		width = max(width, len(x.Name))
	}
	for _, x := range r.Results {
		l := look[x.Status]
		sign := p.sign(l.fancy, fmt.Sprintf("%-4s", l.plain))
		message := clean(x.Message)
		if x.Code != "" {
			message = p.paint(l.style, x.Code) + " " + message
		}
		if x.Path != "" {
			message += " (" + clean(x.Path) + ")"
		}
		p.line("%s %-*s  %s", p.paint(l.style, sign), width, x.Name, message)
		p.remedy("    ", x.Remedy)
	}
	p.line("%d passed, %s, %d failed, %d skipped",
		r.Count(doctor.Pass), doctor.Count(r.Count(doctor.Warn), "warning"), r.Count(doctor.Fail), r.Count(doctor.Skip))
}

// checkList names the checks without running them.
type checkList struct {
	Checks []checkName `json:"checks"`
}

type checkName struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

func (l checkList) text(p *printer) {
	rows := [][]string{}
	for _, c := range l.Checks {
		rows = append(rows, []string{c.Name, c.About})
	}
	p.table(rows, nil)
}

func doctorSpec() *spec {
	var names []string
	var list bool
	return &spec{
		use:   "doctor",
		short: "Check everything that is needed",
		long: `Checks Postgres, the outbox, the daemon, the catalog and Pulsar, and changes
nothing. Each check passes, warns, fails or is skipped; a failure comes with its
cause and what to do. Run it with the daemon's own addresses and user.

The daemon is asked at its http address. One that does not run is no failure; one
that is halted is, with its own code and remedy.

The exit code is 3 when a check of the environment failed, 2 when only the
input is wrong (a broken catalog), 0 otherwise: warnings do not fail.`,
		example: `  runnel doctor
  runnel doctor --check slot --check publication
  runnel doctor -o json | jq '.result.checks[] | select(.status == "fail")'`,
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringSliceVar(&names, "check", nil, "run only the check `name` and what it needs (repeatable)")
			cmd.Flags().BoolVar(&list, "list", false, "name the checks and run none")
			addHTTPFlag(cmd)
			var all []string
			for _, c := range doctor.Checks() {
				all = append(all, c.Name)
			}
			completeFrom(cmd, "check", all...)
		},
		run: func(ctx context.Context, c *call) (any, error) {
			if list {
				var l checkList
				for _, x := range doctor.Checks() {
					l.Checks = append(l.Checks, checkName{x.Name, x.About})
				}
				return l, nil
			}
			cfg, err := c.config()
			if err != nil {
				return nil, err
			}
			report, err := c.deps.doctor(ctx, cfg, names...)
			if err != nil {
				return nil, err
			}
			class, failed := report.Failed()
			switch {
			case ctx.Err() != nil:
				return doctorResult{report}, context.Cause(ctx)
			case !failed:
				return doctorResult{report}, nil
			case class == fault.Input:
				return doctorResult{report}, ErrChecksInput.New("%s", failures(report))
			}
			return doctorResult{report}, ErrChecks.New("%s", failures(report))
		},
	}
}

func failures(r doctor.Report) string {
	return fmt.Sprintf("%d of %s failed", r.Count(doctor.Fail), doctor.Count(len(r.Results), "check"))
}
