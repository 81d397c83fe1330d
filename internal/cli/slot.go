package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/config"
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
		p.line("%s", p.paint(green, "nothing to do: the slot is whole, and the database's history is the one that was published; what topics have lost is not looked for"))
		return
	}
	if r.Fork != nil {
		r.textOfFork(p)
	}
	if r.Slot != nil {
		r.textOfSlot(p)
	}
	switch {
	case r.Applied && r.Slot != nil:
		p.line("%s", p.paint(green, "repaired: the daemon goes on by itself, and publishes what was missing first"))
	case r.Applied:
		p.line("%s", p.paint(green, "settled: the daemon goes on by itself, behind what is in the topics"))
	case r.Fork != nil && r.Fork.Lost > 0:
		p.remedy("", "If another server has these events, use that one. To give them up, and go on with this server: "+r.command)
	case r.Slot != nil && r.Slot.Missing == 0:
		p.remedy("", "To make the slot anew: "+r.command)
	case r.Slot != nil:
		p.remedy("", "To make the slot anew and publish what is missing: "+r.command)
	}
}

func (r repairResult) textOfFork(p *printer) {
	f := r.Fork
	if f.System != "" {
		p.line("The server is another one, system %s: the database was loaded from a dump, cloned by rows, or upgraded by pg_upgrade.", f.System)
		p.line("%s", p.paint(bold, "The one it was must not run any more, or no service write to it."))
	} else {
		p.line("The server is on timeline %d, which forked at %s.", f.Timeline, f.LSN)
	}
	if f.Lost == 0 {
		p.line("It has all that was published.")
		if r.Slot == nil {
			p.line("The daemon goes on by itself.")
		}
		return
	}
	p.line("%s that were published it does not have:", p.paint(bold, doctor.Count(f.Lost, "event")+" of "+doctor.Count(f.Aggregates, "aggregate")))
	rows := [][]string{{"  TOPIC", "PARTITION", "POSITION", "TYPE", "AGGREGATE", "ID"}}
	for _, e := range f.Events[:min(len(f.Events), listedEvents)] {
		rows = append(rows, []string{"  " + e.Topic[strings.LastIndexByte(e.Topic, '/')+1:], fmt.Sprint(e.Partition), e.Position.Position.String(), e.Type, e.Key, e.ID})
	}
	listEvents(p, rows, int64(f.Lost))
	switch {
	case f.Readers == nil:
		p.line("Who reads those topics the broker does not tell this role. Their copies hold these events.")
	case len(f.Readers) > 0:
		p.line("Copies that hold them: %s. Rebuild them once this is settled.", clean(strings.Join(f.Readers, ", ")))
	}
}

func (r repairResult) textOfSlot(p *printer) {
	s := r.Slot
	if !r.Applied {
		p.line("%s", clean(s.Message))
	}
	if s.Complete == nil {
		p.line("No progress was saved: all rows of the outbox were compared with the topics.")
	} else {
		p.line("Whatever had been committed by %s was published: later rows were compared with the topics.", stamp(*s.Complete))
	}
	for _, u := range s.Uncovered {
		p.line("%s The outbox keeps nothing from %s to %s: if rows of then were not published, they are lost.", p.paint(red, "Not covered."), stamp(u.From), stamp(u.To))
	}
	what := "are in the outbox and in no topic"
	if r.Applied {
		what = "were in no topic: slot " + s.Name + " begins with them"
	}
	if s.Missing == 0 {
		p.line("No event is missing.")
		return
	}
	p.line("%s %s, of transactions that began from %s to %s:", p.paint(bold, doctor.Count(int(s.Missing), "event")), what, stamp(*s.Oldest), stamp(*s.Newest))
	rows := [][]string{{"  TYPE", "AGGREGATE TYPE", "AGGREGATE", "ID"}}
	for _, e := range s.Events[:min(len(s.Events), listedEvents)] {
		rows = append(rows, []string{"  " + e.Type, e.AggregateType, e.Key, e.ID})
	}
	listEvents(p, rows, s.Missing)
}

// listEvents prints a table of the first of so many events.
func listEvents(p *printer, rows [][]string, count int64) {
	p.table(rows, func(row, _ int, text string) string {
		if row == 0 {
			return p.paint(faint, text)
		}
		return clean(text)
	})
	if listed := int64(len(rows) - 1); count > listed {
		p.line("  ... and %d more; -o json lists more of them", count-listed)
	}
}

// stamp writes a time for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

func slotSpec() *spec {
	return &spec{
		use:     "slot",
		short:   "Repair what was lost between database and topics",
		long:    "Commands for when the pipeline's slot was lost, dropped or made anew, or the source database is not what it was: after a failover that lost something, or a restored backup.",
		example: "  runnel slot repair",
		sub:     []*spec{slotRepairSpec()},
	}
}

func slotRepairSpec() *spec {
	var hash string
	return &spec{
		use:   "repair",
		short: "Say what is missing or lost, and go on from there",
		long: `Compares outbox, topics and the history of the source database, and says what it
takes to go on. Without --apply nothing is changed.

A slot that is missing, was invalidated, moved or made anew (SLOT_MISSING, SLOT_LOST,
SLOT_MOVED, SLOT_GAP): the rows that the outbox retains are compared with the events in
the topics, and those that are in none are listed. With --apply the slot is dropped, if
it is there, and made anew, and those rows are published before all else that follows.

Events that were published and that the database has lost, after a standby took over
or a backup was restored (HISTORY_LOST), are listed. They can't be taken out of the
topics. With --apply they are given up, and recorded as no part of the history: the
daemon goes on behind them.

Nothing but the plan that was listed is applied. The daemon may run meanwhile: it is
halted, publishes nothing, and goes on by itself. A repair that was cut off is planned
and applied again.`,
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
			settings := pipelineConfig(daemonOptions{config: cfg, logger: c.logger(config.Log{Level: "warn", Format: cfg.Log.Format})})
			if hash == "" {
				plan, err := pipeline.PlanRepair(ctx, settings)
				if err != nil {
					return nil, err
				}
				return repairResult{RepairPlan: plan, command: "runnel slot repair --apply " + plan.Hash}, nil
			}
			plan, err := pipeline.Repair(ctx, settings, hash)
			if err != nil {
				return nil, err
			}
			return repairResult{RepairPlan: plan, Applied: true}, nil
		},
	}
}
