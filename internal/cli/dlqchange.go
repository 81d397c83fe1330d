package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/doctor"
)

type dlqChangeResult struct {
	Verb    string `json:"-"`
	Matched int    `json:"matched"`
	Changed int    `json:"changed"` // keys of retry, events of discard
	DryRun  bool   `json:"dry_run"`
	What    string `json:"-"`
}

func (r dlqChangeResult) text(p *printer) {
	if r.DryRun {
		p.line("%s would be %s; nothing was changed", doctor.Count(r.Matched, "event"), r.Verb)
		return
	}
	p.line("%s", r.What)
}

// dlqChange is what retry and discard have in common.
func dlqChange(ctx context.Context, c *call, f *dlqFlags, verb string, change func(*pgx.Conn, consumers.ParkedFilter) (changed int, what string, err error)) (any, error) {
	if err := f.whose(); err != nil {
		return nil, err
	}
	if f.pipeline {
		return changeLetters(ctx, c, f, verb)
	}
	filter, err := f.changes()
	if err != nil {
		return nil, err
	}
	return withParked(ctx, c, f.projection, func(conn *pgx.Conn) (any, error) {
		if f.discards {
			if err := oneVersion(ctx, conn, f.projection, filter); err != nil {
				return nil, err
			}
		}
		r := dlqChangeResult{Verb: verb, DryRun: f.dryRun}
		if r.Matched, err = consumers.CountParked(ctx, conn, f.projection, filter); err != nil || f.dryRun {
			return r, err
		}
		r.Changed, r.What, err = change(conn, filter)
		return r, err
	})
}

func dlqRetrySpec() *spec {
	var f dlqFlags
	return &spec{
		use: "retry", short: "Let parked events be tried again",
		long: `With --pipeline, writes everything that is parked of the aggregates of events that
match to the outbox again, in order, and waits until the daemon has published it. One
that cannot be published this time either is parked again, in its place. It takes a
member of the schema's owner (--postgres). What comes meanwhile is retried as well; for
an aggregate that never rests, --exclusive holds all writers of the outbox for a moment.

With --projection, makes parked events due. A running instance of the projection tries
them within seconds, those behind them follow in order, and live events go on meanwhile.
An event that fails again goes through its schedule of retries once more. Where only
events behind another match, that one is tried first.`,
		example: `  runnel dlq retry --pipeline --key order-7 --postgres postgres://runnel_owner@localhost/shop
  runnel dlq retry --projection fulfilment --error EVENT_UNDECODABLE --dry-run
  runnel dlq retry --projection fulfilment --key order-7`,
		flags: func(cmd *cobra.Command) {
			f.addChange(cmd)
			cmd.Flags().BoolVar(&f.exclusive, "exclusive", false, "of the pipeline's: hold the writers of the outbox meanwhile")
		},
		run: func(ctx context.Context, c *call) (any, error) {
			return dlqChange(ctx, c, &f, "retried", func(conn *pgx.Conn, filter consumers.ParkedFilter) (int, string, error) {
				n, err := consumers.RetryParked(ctx, conn, f.projection, filter)
				return n, doctor.Count(n, "aggregate") + " will be tried again", err
			})
		},
	}
}

// oneVersion reports events that both the live copy and the one that is being built
// parked, where it is not said whose are meant.
func oneVersion(ctx context.Context, conn *pgx.Conn, projection string, filter consumers.ParkedFilter) error {
	all, err := consumers.Copies(ctx, conn, projection)
	if err != nil || filter.Version != 0 {
		return err
	}
	var whose []string
	for _, c := range all {
		filter.Version = c.Version
		n, err := consumers.CountParked(ctx, conn, projection, filter)
		if err != nil {
			return err
		}
		if n > 0 {
			whose = append(whose, fmt.Sprintf("%d of version %d, which is %s", n, c.Version, c.State))
		}
	}
	if len(whose) < 2 {
		return nil
	}
	return ErrUsage.New("events of two copies match: %s", strings.Join(whose, "; ")).
		Fix("Say whose are meant with --version; what is discarded from the live copy is missing in it.")
}

func dlqDiscardSpec() *spec {
	var f dlqFlags
	return &spec{
		use: "discard", short: "Give parked events up",
		long: `With --pipeline, gives up events that match: they are never published, and no copy will
hold what they said. What waited behind them waits on, to be retried.

With --projection, removes parked events: the copy will never hold what they said, but one
that is built later has them from the topic again. What waited behind them is tried.
During a rebuild, where both copies parked events that match, --version says whose are
meant.

Without --yes nothing is changed.`,
		example: `  runnel dlq discard --pipeline --id 0197a3c2-5b1e-7c33-9f6a-3f2f6c1d8e10 --yes
  runnel dlq discard --projection fulfilment --id 0197a3c2-5b1e-7c33-9f6a-3f2f6c1d8e10
  runnel dlq discard --projection fulfilment --type OrderNoted --yes`,
		flags: func(cmd *cobra.Command) {
			f.addChange(cmd)
			cmd.Flags().BoolVar(&f.yes, "yes", false, "really")
		},
		run: func(ctx context.Context, c *call) (any, error) {
			f.dryRun, f.discards = f.dryRun || !f.yes, true
			return dlqChange(ctx, c, &f, "discarded", func(conn *pgx.Conn, filter consumers.ParkedFilter) (int, string, error) {
				n, err := consumers.DiscardParked(ctx, conn, f.projection, filter)
				return n, doctor.Count(n, "event") + " discarded", err
			})
		},
	}
}
