package cli

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/doctor"
	"github.com/runnel-cdc/runnel/internal/evolution"
)

type driftResult struct {
	Differences []evolution.Difference `json:"differences"`
}

func (r driftResult) text(p *printer) {
	for _, d := range r.Differences {
		p.line("%s: the catalog has %s, live is %s", p.paint(bold, clean(d.Object)), clean(d.Catalog), clean(d.Live))
		p.remedy("  ", d.Fix)
	}
	if len(r.Differences) == 0 {
		p.line("%s", p.paint(green, "no difference: topics, registry and event types are as the catalog has them"))
	}
}

func driftSpec() *spec {
	return &spec{
		use:   "drift [DIR]",
		short: "Compare what is live with the catalog",
		long: `Lists every difference between a folder of .avsc files, that of --schemas by default,
and what is live: policies of the namespace, topics, newest versions of schemas, and
the event types that writers may publish. It looks both ways: what the catalog has
and is not applied, and what somebody applied or made that the catalog does not have.
It changes nothing. Exit code 2: there is a difference.`,
		example: `  runnel schemas drift
  runnel schemas drift ./schemas -o json`,
		args: optionalArg("DIR"),
		run: func(ctx context.Context, c *call) (any, error) {
			return c.withServers(ctx, func(e *evolving) (any, error) {
				state, err := e.observe(ctx)
				if err != nil {
					return nil, err
				}
				r := driftResult{append([]evolution.Difference{}, evolution.Drift(e.catalog, state)...)}
				if n := len(r.Differences); n > 0 {
					return r, evolution.ErrDrift.New("%s", doctor.Count(n, "difference"))
				}
				return r, nil
			})
		},
	}
}
