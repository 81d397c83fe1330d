package cli

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/evolution"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// planResult is what would be changed, and what that does.
type planResult struct {
	Hash       string           `json:"hash"` // "" when there is nothing to do, or something is in the way
	Steps      []evolution.Step `json:"steps"`
	Findings   []finding        `json:"findings"`
	Readers    []readerResult   `json:"readers"` // of the topics whose schemas change
	Deprecated []deprecation    `json:"deprecated"`
	Notes      []string         `json:"notes"`

	blocked int
	command string // that applies it
}

// readerResult is a subscription.
type readerResult struct {
	Topic        string   `json:"topic"`
	Subscription string   `json:"subscription"`
	Connected    int      `json:"connected"`
	Backlog      int64    `json:"backlog_entries"`
	Reads        []string `json:"reads"` // events; null when it does not tell
}

func newReaders(all []evolution.Reader) []readerResult {
	out := []readerResult{}
	for _, r := range all {
		out = append(out, readerResult{r.Topic, r.Subscription, r.Connected, r.Backlog, r.Events()})
	}
	return out
}

func (e *evolving) planResult(p *evolution.Plan) planResult {
	r := planResult{
		Hash: p.Hash(), Steps: append([]evolution.Step{}, p.Steps...), Findings: append([]finding{}, e.changeFindings(p.Findings)...),
		Readers: newReaders(p.Affected), Deprecated: deprecations(e.catalog), Notes: append([]string{}, p.Notes...), blocked: len(p.Blocked()),
	}
	if r.blocked > 0 {
		r.Hash = "" // it cannot be applied
	}
	if r.Hash != "" {
		r.command = e.again("apply") + " --plan " + r.Hash
	}
	return r
}

// again is the command line with another subcommand of schemas: the same folder, and the
// flags that say where the servers are. A URL with a password is not repeated.
func (e *evolving) again(sub string) string {
	line := "runnel schemas " + sub
	for _, dir := range e.args {
		if strings.HasPrefix(dir, "-") {
			dir = "./" + dir
		}
		line += " " + shellWord(dir)
	}
	for _, name := range []string{"config", "name", "postgres", "pulsar", "pulsar-admin", "schemas"} {
		f := e.cmd.Flags().Lookup(name)
		if !f.Changed {
			continue
		}
		if name != "postgres" || !mayHoldPassword(f.Value.String()) {
			line += " --" + name + " " + shellWord(f.Value.String())
		}
	}
	return line
}

// mayHoldPassword reports whether a database's address holds one, or cannot be read.
func mayHoldPassword(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" {
		return true
	}
	_, has := u.User.Password()
	return has || u.Query().Has("password") || u.Query().Has("sslpassword")
}

func (r planResult) text(p *printer) {
	for _, s := range r.Steps {
		printStep(p, s)
	}
	if len(r.Readers) > 0 {
		p.line("%s", p.paint(bold, "Who reads the topics"))
		printReaders(p, r.Readers)
	}
	printDeprecations(p, r.Deprecated)
	for _, f := range r.Findings {
		f.text(p)
	}
	for _, n := range r.Notes {
		p.line("%s", p.paint(faint, clean(n)))
	}
	switch {
	case r.blocked > 0:
		p.line("%s", p.paint(red, doctor.Count(r.blocked, "finding")+" in the way: nothing can be applied"))
	case r.Hash == "":
		p.line("%s", p.paint(green, "nothing to do: topics, registry and event types are as the catalog has them"))
	default:
		p.line("%s, plan %s", doctor.Count(len(r.Steps), "step"), p.paint(bold, r.Hash))
		p.remedy("", "To carry it out: "+r.command)
	}
}

var stepSigns = map[evolution.Kind]string{
	evolution.SetPolicy: "~", evolution.CreateTopic: "+", evolution.KeepTopic: "~", evolution.Register: "~", evolution.RegisterTypes: "+", evolution.WithdrawTypes: "-",
}

func printStep(p *printer, s evolution.Step) {
	object := s.Object
	if s.Policy != "" {
		object += ": " + s.Policy
	}
	p.line("%s %-15s %s: %s %s %s", p.paint(bold, stepSigns[s.Kind]), s.Kind, clean(object), clean(s.From), p.sign("→", "->"), clean(s.To))
	for _, change := range s.Changes {
		p.line("    %s", clean(change))
		for _, f := range s.Fields[change] {
			p.line("        %s", clean(f.String()))
		}
	}
}

func printReaders(p *printer, all []readerResult) {
	rows := [][]string{{"  TOPIC", "SUBSCRIPTION", "CONNECTED", "BACKLOG", "READS"}}
	for _, r := range all {
		reads := "not told"
		if r.Reads != nil {
			reads = strings.Join(r.Reads, ", ")
		}
		rows = append(rows, []string{"  " + r.Topic, r.Subscription, fmt.Sprint(r.Connected), fmt.Sprint(r.Backlog), reads})
	}
	p.table(rows, func(row, _ int, text string) string {
		if row == 0 {
			return p.paint(faint, text)
		}
		return clean(text)
	})
}

func planSpec() *spec {
	return &spec{
		use:   "plan [DIR]",
		short: "Say what applying the catalog would change",
		long: `Compares a folder of .avsc files, that of --schemas by default, with the topics,
their schemas and the event types that writers may publish, and lists what would be
changed, in order: policies of the namespace, topics, versions of schemas, event
types. It changes nothing.

Every change of an event is judged as by check --against registry; who reads the
topics is listed, and named where they would break. A type that is no longer in the
catalog is taken out, once nobody needs it.

The last line has the plan's hash, for apply. Exit code 2: something is in the way.`,
		example: `  runnel schemas plan
  runnel schemas plan ./schemas -o json | jq '.result.steps[].kind'`,
		args: optionalArg("DIR"),
		run: func(ctx context.Context, c *call) (any, error) {
			return c.withServers(ctx, func(e *evolving) (any, error) {
				p, err := e.plan(ctx)
				if err != nil {
					return nil, err
				}
				begun, err := evolution.Unfinished(ctx, e.db)
				if err != nil {
					return nil, wire.QueryFault(err, "look for plans that were begun")
				}
				r := e.planResult(p)
				for _, b := range begun {
					r.Notes = append(r.Notes, fmt.Sprintf("The plan %s, begun by %s at %s, is not carried out to its end: to apply it again goes on with it, a new plan takes up what it has left.",
						b.Hash, b.By, b.At.Local().Format(time.DateTime)))
				}
				return r, refused(r.blocked)
			})
		},
	}
}

// refused is the error of a plan that something is in the way of. The findings are in
// the result.
func refused(blocked int) error {
	if blocked == 0 {
		return nil
	}
	return evolution.ErrRefused.New("%s in the way", doctor.Count(blocked, "finding"))
}
