package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/evolution"
	"github.com/runnel-cdc/runnel/schemas"
)

// diffResult is how events differ.
type diffResult struct {
	Against string      `json:"against"`
	Events  []eventDiff `json:"events"` // those that differ
}

type eventDiff struct {
	Event   string             `json:"event"`
	What    string             `json:"what"` // added, changed or removed
	Was     string             `json:"was"`  // which version
	Changes []evolution.Change `json:"changes"`
}

func (r diffResult) text(p *printer) {
	for _, e := range r.Events {
		sign, paint := "~", yellow
		switch e.What {
		case "added":
			sign, paint = "+", green
		case "removed":
			sign, paint = "-", red
		}
		from := ""
		if e.Was != "" {
			from = p.paint(faint, " (was "+clean(e.Was)+")")
		}
		p.line("%s%s", p.paint(paint, sign+" "+clean(e.Event)), from)
		for _, c := range e.Changes {
			p.line("    %s", clean(c.String()))
		}
	}
	differ := "differ"
	if len(r.Events) == 1 {
		differ = "differs"
	}
	p.line("%s %s, compared with %s", doctor.Count(len(r.Events), "event"), differ, clean(r.Against))
}

func diffSpec() *spec {
	var against string
	return &spec{
		use:   "diff [DIR]",
		short: "Show how the catalog's events differ from others",
		long: `Shows, field by field, how the events of a folder of .avsc files, that of --schemas
by default, differ from those of the registry (the default), of a git reference, or
of another folder. What that means for readers, check says.`,
		example: `  runnel schemas diff
  runnel schemas diff ./schemas --against HEAD~1`,
		args: optionalArg("DIR"),
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&against, "against", "registry", "`what` to compare with: registry, a git reference or a folder")
		},
		run: func(ctx context.Context, c *call) (any, error) {
			e, err := c.evolving()
			if err != nil {
				return nil, err
			}
			defer e.close()
			if against == "" {
				return nil, ErrUsage.New("--against is empty").Fix("Name the registry, a git reference or a folder.")
			}
			history, err := e.versionsOf(ctx, against)
			if err != nil {
				return nil, err
			}
			return diffResult{against, e.diff(history)}, nil
		},
	}
}

// versionsOf returns what --against names as a history.
func (e *evolving) versionsOf(ctx context.Context, against string) (evolution.History, error) {
	if against == "registry" {
		if err := e.connect(ctx, false); err != nil {
			return nil, err
		}
		_, err := e.observe(ctx)
		return e.history, err
	}
	base, err := e.baseline(ctx, against)
	if err != nil || base == nil {
		return nil, err
	}
	return evolution.FromCatalog(against, base), nil
}

// diff compares the catalog's events with the newest of a history.
func (e *evolving) diff(h evolution.History) []eventDiff {
	all := []eventDiff{}
	for _, t := range e.catalog.Events() {
		last, ok := h.Last(t.Name)
		switch {
		case !ok || last.Retired:
			all = append(all, eventDiff{Event: t.Name, What: "added", Changes: evolution.Fields(t.Schema)})
		case last.Event.Fingerprint != t.Fingerprint:
			all = append(all, eventDiff{t.Name, "changed", last.Label, evolution.Diff(last.Event.Schema, t.Schema)})
		}
	}
	for name := range h {
		last, _ := h.Last(name)
		if _, ok := e.catalog.Event(name); !ok && !last.Retired {
			all = append(all, eventDiff{name, "removed", last.Label, []evolution.Change{}})
		}
	}
	slices.SortFunc(all, func(a, b eventDiff) int { return strings.Compare(a.Event, b.Event) })
	return all
}

// registeredEvent is an event as the registry has it.
type registeredEvent struct {
	topic    *evolution.Topic
	event    *schemas.EventType
	versions []evolution.Version
	retired  bool
}

// registered lists the events of all topics, by topic and name.
func registered(state *evolution.State, h evolution.History) []registeredEvent {
	var all []registeredEvent
	for i := range state.Topics {
		t := &state.Topics[i]
		if len(t.Versions) == 0 {
			continue
		}
		newest := t.Versions[len(t.Versions)-1]
		for _, b := range newest.Events() {
			event, _ := newest.Event(b.Name)
			all = append(all, registeredEvent{t, event, h[b.Name], slices.Contains(newest.Retired(), b.Name)})
		}
	}
	slices.SortStableFunc(all, func(a, b registeredEvent) int {
		if c := strings.Compare(a.topic.Name, b.topic.Name); c != 0 {
			return c
		}
		return strings.Compare(a.event.Name, b.event.Name)
	})
	return all
}
