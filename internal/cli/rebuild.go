package cli

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/doctor"
)

func rebuildSpec() *spec {
	return &spec{
		use: "rebuild", short: "See a projection's rebuild, cancel it, drop the old copy",
		long: `A projection that is started with a higher Version is built beside its live copy,
from the start of its topics, and takes that one's place when it has caught up; the
old copy stays until it is dropped. These commands work on the projection's own
database (--postgres), as the role that owns its schemas.`,
		example: `  runnel rebuild status --projection fulfilment --postgres postgres://shop@localhost/fulfilment`,
		sub:     []*spec{rebuildStatusSpec(), rebuildCancelSpec(), rebuildDropSpec()},
	}
}

// copyResult is one version of a projection.
type copyResult struct {
	Version   int        `json:"version"`
	State     string     `json:"state"`
	Schema    string     `json:"schema"`
	CreatedAt time.Time  `json:"created_at"`
	SwappedAt *time.Time `json:"swapped_at"`
	Passed    uint64     `json:"events_passed"`
	Parked    int64      `json:"events_parked"`
	Retrying  int64      `json:"events_retrying"` // of the parked ones, tried again by themselves
	Diverged  bool       `json:"diverged"`        // it holds events that the source database has lost
}

type rebuildStatusResult struct {
	Copies []copyResult `json:"copies"`
	// Of the version that is being built, if there is one.
	Rate float64 `json:"events_per_second"` // since it began
	Left float64 `json:"seconds_left"`      // at this rate; 0 when unknown
}

func newRebuildStatus(all []consumers.Copy, now time.Time) rebuildStatusResult {
	r := rebuildStatusResult{Copies: []copyResult{}}
	var of uint64
	for _, c := range all {
		one := copyResult{c.Version, c.State, c.Schema, c.CreatedAt, nil, c.Passed, c.Parked, c.Retrying, c.Diverged}
		if !c.SwappedAt.IsZero() {
			one.SwappedAt = &c.SwappedAt
		}
		r.Copies = append(r.Copies, one)
		switch c.State {
		case "live":
			of = c.Passed
		case "building":
			r.Rate = float64(c.Passed) / max(now.Sub(c.CreatedAt).Seconds(), 1)
			if r.Rate > 0 && of > c.Passed {
				r.Left = float64(of-c.Passed) / r.Rate
			}
		}
	}
	return r
}

func (r rebuildStatusResult) text(p *printer) {
	table := [][]string{{"VERSION", "STATE", "SCHEMA", "MADE", "EVENTS", "PARKED"}}
	for _, c := range r.Copies {
		table = append(table, []string{strconv.Itoa(c.Version), c.State, c.Schema, doctor.FormatAge(c.CreatedAt) + " ago",
			strconv.FormatUint(c.Passed, 10), strconv.FormatInt(c.Parked, 10)})
	}
	p.table(table, func(row, _ int, text string) string {
		if row == 0 {
			return p.paint(bold, text)
		}
		return text
	})
	var retrying int64 // by the live one
	for _, c := range r.Copies {
		if c.Diverged && c.State != "old" {
			p.line("%s", p.paint(yellow, fmt.Sprintf("version %d holds events that the source database has lost (PROJECTION_DIVERGED): the next version is built without them", c.Version)))
		}
		switch {
		case c.State == "live":
			retrying = c.Retrying
		case c.State != "building":
		case c.Parked > 0:
			p.line("version %d waits with %s to take the live one's place", c.Version, doctor.Count(int(c.Parked), "parked event"))
		case retrying > 0 && r.Left == 0:
			p.line("version %d waits until the live one has applied, or parked, %s that it tries again; or discard them there", c.Version, doctor.Count(int(retrying), "event"))
		case r.Left > 0:
			p.line("version %d: %.0f events per second, about %s left", c.Version, r.Rate, time.Duration(r.Left*float64(time.Second)).Round(time.Second))
		}
	}
}

func rebuildStatusSpec() *spec {
	var projection string
	return &spec{
		use: "status", short: "Show the versions of a projection, and how far a rebuild is",
		long: `Shows the versions of a projection that its database holds: the live one, one that
is being built beside it, with its rate and how long it will take, and the old one.`,
		example: `  runnel rebuild status --projection fulfilment -o json`,
		flags:   func(cmd *cobra.Command) { projectionFlag(cmd, &projection) },
		run: func(ctx context.Context, c *call) (any, error) {
			if err := requireProjection(projection); err != nil {
				return nil, err
			}
			return withProjection(ctx, c, projection, "rebuild", "look at the projection's copies", func(conn *pgx.Conn) (any, error) {
				all, err := consumers.Copies(ctx, conn, projection)
				return newRebuildStatus(all, time.Now()), err
			})
		},
	}
}

type rebuildRemoveResult struct {
	Version int    `json:"version"` // that was removed, or would be; 0: there is none
	DryRun  bool   `json:"dry_run"`
	Which   string `json:"-"`
}

func (r rebuildRemoveResult) text(p *printer) {
	switch {
	case r.Version == 0:
		p.line("there is no %s", r.Which)
	case r.DryRun:
		p.line("the %s, version %d, would be removed; --yes does it", r.Which, r.Version)
	default:
		p.line("the %s, version %d, was removed", r.Which, r.Version)
	}
}

func rebuildCancelSpec() *spec {
	return removeSpec("cancel", "Remove the copy that is being built", `Removes the copy that is being built beside the live one, with its tables and
positions. Instances that build it stop. Without --yes nothing is changed.`, "building", "copy that is being built", consumers.CancelRebuild)
}

func rebuildDropSpec() *spec {
	return removeSpec("drop", "Remove the old copy", `Removes the copy that was live until another took its place: its schema, named
PROJECTION_old, with everything that depends on it, and its positions. Without
--yes nothing is changed.`, "old", "old copy", consumers.DropOldCopy)
}

// removeSpec is what cancel and drop have in common.
func removeSpec(use, short, long, state, which string, remove func(context.Context, consumers.Beginner, string) (int, error)) *spec {
	var projection string
	var yes bool
	return &spec{
		use: use, short: short, long: long,
		example: "  runnel rebuild " + use + " --projection fulfilment --yes",
		flags: func(cmd *cobra.Command) {
			projectionFlag(cmd, &projection)
			cmd.Flags().BoolVar(&yes, "yes", false, "really")
		},
		run: func(ctx context.Context, c *call) (any, error) {
			if err := requireProjection(projection); err != nil {
				return nil, err
			}
			return withProjection(ctx, c, projection, "rebuild", "remove a copy of the projection", func(conn *pgx.Conn) (any, error) {
				r := rebuildRemoveResult{DryRun: !yes, Which: which}
				if yes {
					var err error
					r.Version, err = remove(ctx, conn, projection)
					return r, err
				}
				all, err := consumers.Copies(ctx, conn, projection)
				for _, one := range all {
					if one.State == state {
						r.Version = one.Version
					}
				}
				return r, err
			})
		},
	}
}
