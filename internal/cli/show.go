package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/evolution"
	"github.com/runnel-cdc/runnel/internal/nearest"
	"github.com/runnel-cdc/runnel/schemas"
)

// listResult is what the registry holds, an event each.
type listResult struct {
	Events []listedEvent `json:"events"`
}

type listedEvent struct {
	Topic      string `json:"topic"`
	Event      string `json:"event"`
	State      string `json:"state"`    // current, deprecated or retired
	Versions   int    `json:"versions"` // different ones, of the event
	Newest     int64  `json:"newest"`   // version of the topic's schema that holds it
	Fields     int    `json:"fields"`
	Owner      string `json:"owner"`
	Readers    int    `json:"readers"` // subscriptions that may read it
	Backlog    int64  `json:"backlog_entries"`
	Deprecated string `json:"deprecated,omitempty"`
}

func (r listResult) text(p *printer) {
	rows := [][]string{{"TOPIC", "EVENT", "STATE", "VERSIONS", "FIELDS", "OWNER", "READERS", "BACKLOG"}}
	for _, e := range r.Events {
		rows = append(rows, []string{e.Topic, e.Event, e.State, fmt.Sprint(e.Versions), fmt.Sprint(e.Fields), e.Owner, fmt.Sprint(e.Readers), fmt.Sprint(e.Backlog)})
	}
	p.table(rows, func(row, _ int, text string) string {
		if row == 0 {
			return p.paint(bold, text)
		}
		return clean(text)
	})
}

func listSpec() *spec {
	return &spec{
		use:   "list [DIR]",
		short: "List the events that are registered",
		long: `Lists the events of the namespace's topics as they are registered: how many versions
of each there are, who owns it (as the catalog in DIR, --schemas by default, says, if
there is one), and how many subscriptions may read it. A subscription whose consumers
do not tell what they read, or that nobody is connected to, counts for every event of
its topic.`,
		example: `  runnel schemas list
  runnel schemas list -o json | jq '.result.events[] | select(.state == "deprecated")'`,
		args: optionalArg("DIR"),
		run: func(ctx context.Context, c *call) (any, error) {
			all, e, err := c.registered(ctx)
			if err != nil {
				return nil, err
			}
			r := listResult{[]listedEvent{}}
			for i := range all {
				r.Events = append(r.Events, e.listed(&all[i]))
			}
			return r, nil
		},
	}
}

// registered reads the registry, and what the catalog says of its events, if there is
// one. The connections are closed.
func (c *call) registered(ctx context.Context) ([]registeredEvent, *evolving, error) {
	e := &evolving{call: c}
	var err error
	switch e.dir, err = c.folder(); {
	case errors.Is(err, config.ErrMissing):
	case err != nil:
		return nil, nil, err
	default:
		if wrong := flatten(e.read()); len(wrong) > 0 {
			c.message("warning: what the catalog says of owners and levels may be missing: %s", clean(wrong[0].Error()))
		}
	}
	if e.catalog == nil {
		e.catalog = &schemas.Catalog{}
	}
	defer e.close()
	if err := e.connect(ctx, false); err != nil {
		return nil, nil, err
	}
	state, err := e.observe(ctx)
	if err != nil {
		return nil, nil, err
	}
	return registered(state, e.history), e, nil
}

func (e *evolving) listed(r *registeredEvent) listedEvent {
	l := listedEvent{
		Topic: r.topic.Name, Event: r.event.Name, State: "current", Versions: len(r.versions),
		Fields: len(r.event.Schema.Fields), Owner: evolution.Owner(e.file, r.topic.Name, r.event),
	}
	if n := len(r.versions); n > 0 {
		if in := r.versions[n-1].In; len(in) > 0 {
			l.Newest = in[len(in)-1]
		}
	}
	if why, deprecated := r.event.Schema.Deprecated(); deprecated {
		l.State, l.Deprecated = "deprecated", why
	}
	if r.retired {
		l.State = "retired"
	}
	for _, reader := range r.topic.Readers {
		if reader.Reads == nil || reader.Reads[r.event.Name] != nil {
			l.Readers++
			l.Backlog += reader.Backlog
		}
	}
	return l
}

// showResult is all that is known of one event.
type showResult struct {
	listedEvent
	Tags     []string           `json:"tags"`
	Level    string             `json:"compatibility"` // "" without a catalog
	Doc      string             `json:"doc"`
	Fields   []evolution.Change `json:"field_list"`
	History  []shownVersion     `json:"history"` // oldest first
	Readings []readerResult     `json:"reader_list"`
}

type shownVersion struct {
	Versions    []int64            `json:"versions"` // of the topic's schema, that hold it
	Label       string             `json:"label"`    // the same for people
	Fingerprint string             `json:"fingerprint"`
	Changes     []evolution.Change `json:"changes"` // against the one before
	Readers     []string           `json:"readers"` // subscriptions built with it
}

func (r showResult) text(p *printer) {
	p.line("%s %s", p.paint(bold, clean(r.Event)), p.paint(faint, r.State))
	if r.Doc != "" {
		p.line("%s", clean(r.Doc))
	}
	rows := [][]string{{"topic", r.Topic}}
	for _, row := range [][]string{{"compatibility", r.Level}, {"owner", r.Owner}, {"tags", strings.Join(r.Tags, ", ")}, {"deprecated", r.Deprecated}} {
		if row[1] != "" {
			rows = append(rows, row)
		}
	}
	for i, f := range r.Fields {
		label := ""
		if i == 0 {
			label = "fields"
		}
		rows = append(rows, []string{label, strings.TrimPrefix(f.Path, "$.") + "  " + f.Now})
	}
	p.table(rows, func(_, column int, text string) string {
		if column == 0 {
			return p.paint(faint, text)
		}
		return clean(text)
	})
	p.line("%s", p.paint(bold, "Versions"))
	for _, v := range r.History {
		built := ""
		if len(v.Readers) > 0 {
			built = ", built in: " + strings.Join(v.Readers, ", ")
		}
		p.line("  %s  %s%s", clean(v.Label), v.Fingerprint[:12], clean(built))
		for _, c := range v.Changes {
			p.line("       %s", clean(c.String()))
		}
	}
	p.line("%s", p.paint(bold, "Readers"))
	printReaders(p, r.Readings)
}

func showSpec() *spec {
	return &spec{
		use:   "show EVENT",
		short: "Show an event: versions, fields, owner, readers",
		long: `Shows an event as it is registered: its fields, its versions and what changed between
them, who owns it (as the catalog of --schemas says, if there is one), which
subscriptions may read it, with which version their consumers were built, and how much
they have not read.`,
		example: `  runnel schemas show OrderPlaced
  runnel schemas show OrderPlaced -o json | jq '.result.history[].readers'`,
		args: oneArg("EVENT"),
		run: func(ctx context.Context, c *call) (any, error) {
			name := c.args[0]
			c.args = nil // the folder is the configured one
			all, e, err := c.registered(ctx)
			if err != nil {
				return nil, err
			}
			var names []string
			for i := range all {
				if all[i].event.Name == name {
					return e.shown(&all[i]), nil
				}
				names = append(names, all[i].event.Name)
			}
			fault := ErrEventUnknown.New("no event %q is registered", name)
			if near := nearest.Of(name, names); near != "" {
				return nil, fault.Fix("Did you mean %s?", near)
			}
			return nil, fault.Fix("`runnel schemas list` names those that are.")
		},
	}
}

func (e *evolving) shown(r *registeredEvent) showResult {
	s := showResult{
		listedEvent: e.listed(r), Tags: append([]string{}, e.file.Events[r.event.Name].Tags...),
		Doc: r.event.Schema.Doc, Fields: evolution.Fields(r.event.Schema), History: []shownVersion{},
	}
	if e.levels {
		s.Level = e.settings.LevelOf(r.topic.Name, r.event.Name).String()
	}
	var readers []evolution.Reader
	for _, reader := range r.topic.Readers {
		if reader.Reads == nil || reader.Reads[r.event.Name] != nil {
			readers = append(readers, reader)
		}
	}
	s.Readings = newReaders(readers)
	for i, v := range r.versions {
		shown := shownVersion{Versions: append([]int64{}, v.In...), Label: v.Label, Fingerprint: v.Event.Fingerprint.String(), Changes: []evolution.Change{}, Readers: []string{}}
		if i > 0 {
			shown.Changes = append(shown.Changes, evolution.Diff(r.versions[i-1].Event.Schema, v.Event.Schema)...)
		}
		for _, reader := range readers {
			if slices.Contains(reader.Reads[r.event.Name], v.Event.Fingerprint) {
				shown.Readers = append(shown.Readers, reader.Subscription)
			}
		}
		s.History = append(s.History, shown)
	}
	return s
}
