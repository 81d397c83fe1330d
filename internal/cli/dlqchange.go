package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/doctor"
)

type dlqChangeResult struct {
	Verb     string   `json:"-"`
	Matched  int      `json:"matched"`
	Changed  int      `json:"changed"`   // keys of retry, events of discard
	NotFound []string `json:"not_found"` // ids that were given, of events that are not parked
	DryRun   bool     `json:"dry_run"`
	What     string   `json:"-"`
}

func (r dlqChangeResult) text(p *printer) {
	if r.DryRun {
		p.line("%s would be %s%s; nothing was changed", doctor.Count(r.Matched, "event"), r.Verb, withYes(r.Verb))
	} else {
		p.line("%s", r.What)
	}
	tellNotFound(p, r.NotFound)
}

// withYes says what takes a flag to be done.
func withYes(verb string) string {
	if verb == "discarded" {
		return " with --yes"
	}
	return ""
}

// tellNotFound names events that were asked for and are not parked.
func tellNotFound(p *printer, ids []string) {
	if len(ids) > 0 {
		p.line("%s not found among what is parked: %s", doctor.Count(len(ids), "event"), strings.Join(ids, ", "))
	}
}

// notAmong returns the ids that were not found, as text.
func notAmong(named []uuid.UUID, found map[uuid.UUID]bool) []string {
	missing := []string{}
	for _, id := range named {
		if !found[id] {
			missing = append(missing, id.String())
		}
	}
	return missing
}

// parkedChange is what a command does to a projection's parked events: to those of one
// filter at a time, after which it tells how much was done in all.
type parkedChange interface {
	change(ctx context.Context, conn *pgx.Conn, projection string, filter consumers.ParkedFilter) (done int, err error)
	total() (changed int, what string)
}

// dlqChange is what retry and discard have in common.
func dlqChange(ctx context.Context, c *call, f *dlqFlags, verb string, do parkedChange) (any, error) {
	if err := f.whose(); err != nil {
		return nil, err
	}
	if f.pipeline {
		return changeLetters(ctx, c, f, verb)
	}
	filters, err := f.filters()
	if err == nil {
		err = f.said()
	}
	if err != nil {
		return nil, err
	}
	return withParked(ctx, c, f.projection, func(conn *pgx.Conn) (any, error) {
		for _, filter := range filters {
			if err := oneVersion(ctx, conn, f, filter); err != nil {
				return nil, err
			}
		}
		r := dlqChangeResult{Verb: verb, NotFound: []string{}, DryRun: f.dryRun}
		for _, filter := range filters {
			n, err := consumers.CountParked(ctx, conn, f.projection, filter)
			r.Matched += n
			if err == nil && n > 0 && !f.dryRun {
				n, err = do.change(ctx, conn, f.projection, filter)
			}
			if err != nil {
				return nil, err
			}
			if n == 0 && filter.ID != uuid.Nil {
				r.NotFound = append(r.NotFound, filter.ID.String())
			}
		}
		if len(f.ids) > 0 && len(r.NotFound) == len(filters) {
			return nil, f.notParked(r.NotFound)
		}
		r.Changed, r.What = do.total()
		return r, nil
	})
}

// retrying is what retry does. It counts keys, of which several events may be named.
type retrying struct {
	keys  int
	named map[retriedKey]bool
}

type retriedKey struct {
	version, partition int
	topic, key         string
}

func (r *retrying) change(ctx context.Context, conn *pgx.Conn, projection string, filter consumers.ParkedFilter) (int, error) {
	if filter.ID != uuid.Nil {
		all, err := consumers.Parked(ctx, conn, projection, filter, 2) // of two copies at most
		if err != nil {
			return 0, err
		}
		n, err := consumers.RetryParked(ctx, conn, projection, filter)
		for _, e := range all[:min(n, len(all))] {
			r.named[retriedKey{e.Version, e.Message.Partition, e.Message.Topic, e.Message.AggregateID}] = true
		}
		r.keys = len(r.named)
		return n, err
	}
	n, err := consumers.RetryParked(ctx, conn, projection, filter)
	r.keys = n
	return n, err
}

func (r *retrying) total() (int, string) {
	return r.keys, doctor.Count(r.keys, "aggregate") + " will be tried again"
}

// discarding is what discard does.
type discarding struct{ events int }

func (d *discarding) change(ctx context.Context, conn *pgx.Conn, projection string, filter consumers.ParkedFilter) (int, error) {
	n, err := consumers.DiscardParked(ctx, conn, projection, filter)
	d.events += n
	return n, err
}

func (d *discarding) total() (int, string) {
	return d.events, doctor.Count(d.events, "event") + " discarded"
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
events behind another match, that one is tried first.

Events named by --id that are not parked are told. The exit code is 2 when none of them is.`,
		example: `  runnel dlq retry --pipeline --key order-7 --postgres postgres://runnel_owner@localhost/shop
  runnel dlq retry --projection fulfilment --error EVENT_UNDECODABLE --dry-run
  runnel dlq retry --projection fulfilment --key order-7`,
		flags: func(cmd *cobra.Command) {
			f.addChange(cmd)
			cmd.Flags().BoolVar(&f.exclusive, "exclusive", false, "of the pipeline's: hold the writers of the outbox meanwhile")
		},
		run: func(ctx context.Context, c *call) (any, error) {
			return dlqChange(ctx, c, &f, "retried", &retrying{named: make(map[retriedKey]bool)})
		},
	}
}

// oneVersion reports events to be discarded that both the live copy and the one that is
// being built parked, where it is not said whose are meant.
func oneVersion(ctx context.Context, conn *pgx.Conn, f *dlqFlags, filter consumers.ParkedFilter) error {
	if !f.discards || filter.Version != 0 {
		return nil
	}
	all, err := consumers.Copies(ctx, conn, f.projection)
	if err != nil {
		return err
	}
	var whose []string
	for _, c := range all {
		filter.Version = c.Version
		n, err := consumers.CountParked(ctx, conn, f.projection, filter)
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

Events named by --id that are not parked are told. The exit code is 2 when none of them is.

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
			return dlqChange(ctx, c, &f, "discarded", &discarding{})
		},
	}
}
