package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// repairResult is what a repair would do, or has done.
type repairResult struct {
	pipeline.RepairPlan
	Applied bool `json:"applied"`

	command string // that applies it
}

// listedEvents is how many events are listed for people.
const listedEvents = 50

func (r repairResult) text(p *printer) {
	if r.Hash == "" {
		p.line("%s", p.paint(green, "nothing to do: the database's history is the one that was published"))
		return
	}
	p.line("The server is on timeline %d, which forked at %s.", r.Timeline, r.Fork)
	if r.Lost == 0 {
		p.line("It has all that was published: the daemon goes on by itself.")
	} else {
		p.line("%s, published beyond that, it has not:", p.paint(bold, doctor.Count(r.Lost, "event")+" of "+doctor.Count(r.Aggregates, "aggregate")))
		rows := [][]string{{"  TOPIC", "PARTITION", "POSITION", "TYPE", "AGGREGATE", "ID"}}
		for i, e := range r.Events {
			if i == listedEvents {
				break
			}
			rows = append(rows, []string{"  " + e.Topic[strings.LastIndexByte(e.Topic, '/')+1:], fmt.Sprint(e.Partition), e.Position.Position.String(), e.Type, e.Key, e.ID})
		}
		p.table(rows, func(row, _ int, text string) string {
			if row == 0 {
				return p.paint(faint, text)
			}
			return clean(text)
		})
		if r.Lost > listedEvents {
			p.line("  ... and %d more; -o json lists them", r.Lost-listedEvents)
		}
		switch {
		case r.Readers == nil:
			p.line("Who reads those topics the broker does not tell this role. Their copies hold these events.")
		case len(r.Readers) > 0:
			p.line("Copies that hold them: %s. Rebuild them once this is settled.", clean(strings.Join(r.Readers, ", ")))
		}
	}
	if r.Applied {
		p.line("%s", p.paint(green, "settled: the daemon goes on by itself, behind what is in the topics"))
		return
	}
	p.remedy("", "If another server has these events, use that one. To give them up, and go on with this server: "+r.command)
}

func slotSpec() *spec {
	return &spec{
		use:     "slot",
		short:   "Repair what a changed history has broken",
		long:    "Commands for when the source database is not what it was: after a failover that lost something, or a restored backup.",
		example: "  runnel slot repair",
		sub:     []*spec{slotRepairSpec()},
	}
}

func slotRepairSpec() *spec {
	var hash string
	return &spec{
		use:   "repair",
		short: "Say what the database has lost, and go on without it",
		long: `Compares the topics with the history of the source database, after a standby took
over or a backup was restored (HISTORY_LOST), and lists the events that were
published and that the database has lost. They can't be taken out of the topics.

With --apply they are given up, and recorded as no part of the history: the daemon
goes on behind them. Nothing but the plan that was listed is applied. The daemon may
run meanwhile: it is halted, and publishes nothing.`,
		example: `  runnel slot repair
  runnel slot repair --apply 3f9a2b7c51d04e68`,
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&hash, "apply", "", "`hash` of the plan to carry out")
		},
		run: func(ctx context.Context, c *call) (any, error) {
			cfg, err := c.config("postgres.url", "pulsar.url", "pulsar.admin_url", "schemas")
			if err != nil {
				return nil, err
			}
			settings := pipelineConfig(daemonOptions{config: cfg, logger: slog.New(slog.DiscardHandler)})
			if hash == "" {
				plan, err := pipeline.PlanRepair(ctx, settings)
				return repairResult{RepairPlan: plan, command: "runnel slot repair --apply " + plan.Hash}, err
			}
			plan, err := pipeline.Repair(ctx, settings, hash)
			if err != nil {
				return nil, err
			}
			return repairResult{RepairPlan: plan, Applied: true}, nil
		},
	}
}
