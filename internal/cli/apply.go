package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/evolution"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// applyWait is how long apply waits for another that applies.
const applyWait = 5 * time.Second

// applyResult is what was done.
type applyResult struct {
	Hash string           `json:"hash"`
	Done []evolution.Step `json:"done"`
	Left int              `json:"left"` // steps, after an error
}

// text is what comes below the steps, which were printed when they were done.
func (r applyResult) text(p *printer) {
	if r.Left == 0 {
		p.line("%s", p.paint(green, "plan "+r.Hash+" is carried out: "+doctor.Count(len(r.Done), "step")))
		return
	}
	p.line("%s, %d left: apply the same plan again to go on", doctor.Count(len(r.Done), "step"), r.Left)
}

func applySpec() *spec {
	var hash string
	return &spec{
		use:   "apply [DIR]",
		short: "Carry out a plan",
		long: `Carries out the plan with the hash that plan has printed, and no other: if anything
that it is about has changed since, it refuses, and a new plan is needed.

The steps go in the plan's order, each by itself, and each is printed when it is done:
what a daemon needs in order to publish comes before what lets services publish it,
so that daemons and services go on meanwhile; a daemon picks new schemas up by itself.
When it is killed, the same command goes on where it was. Exit code 2: the plan is
stale, or findings are in the way.`,
		example: `  runnel schemas apply --plan 3f9a2b7c51d04e68
  runnel schemas apply ./schemas --plan 3f9a2b7c51d04e68 -o json`,
		args: optionalArg("DIR"),
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&hash, "plan", "", "`hash` of the plan (required)")
		},
		run: func(ctx context.Context, c *call) (any, error) {
			if hash == "" {
				return nil, ErrUsage.New("--plan is missing").Fix("Run `runnel schemas plan`, look at it, and give the hash of its last line.")
			}
			return c.withServers(ctx, func(e *evolving) (any, error) { return e.apply(ctx, hash) })
		},
	}
}

func (e *evolving) apply(ctx context.Context, hash string) (any, error) {
	mine, err := evolution.Lock(ctx, e.db, applyWait)
	if err != nil {
		return nil, applyFault(err)
	}
	if !mine {
		return nil, evolution.ErrBusy.New("waited %s for its end", applyWait)
	}
	p, err := e.plan(ctx)
	if err != nil {
		return nil, err
	}
	if blocked := p.Blocked(); len(blocked) > 0 {
		return nil, evolution.Refused(blocked)
	}
	steps, err := evolution.Begin(ctx, e.db, hash, p)
	if err != nil {
		return nil, applyFault(err)
	}
	r := applyResult{Hash: hash, Done: []evolution.Step{}, Left: len(steps)}
	a := evolution.Applier{Cluster: e.client, DB: e.db, Target: e.target, Done: func(s evolution.Step) {
		r.Done = append(r.Done, s)
		r.Left--
		if e.output == "text" { // now: who is killed has said what is done
			printStep(newPrinter(e.app, e.stdout), s)
		}
	}}
	if err := a.Apply(ctx, steps); err != nil {
		return r, applyFault(err)
	}
	return r, applyFault(evolution.Finish(ctx, e.db, hash))
}

// applyFault gives what the source database refuses its code. A role that may plan may
// still lack what apply needs there.
func applyFault(err error) error {
	err = wire.QueryFault(err, "apply the plan")
	if f := fault.Find(err); f != nil && f.Code == capture.ErrGrant {
		return f.Fix("Apply as the daemon's role: this one, of --postgres or RUNNEL_POSTGRES_URL, is another. Or grant it what the daemon has:\n  GRANT runnel_daemon TO the_user;")
	}
	return err
}
