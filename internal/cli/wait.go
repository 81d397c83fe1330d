package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// waitResult says that the projection has the token's events.
type waitResult struct {
	Projection    string  `json:"projection"`
	WaitedSeconds float64 `json:"waited_seconds"`
}

func (r waitResult) text(p *printer) {
	p.line("projection %s has applied it; waited %v", clean(r.Projection), time.Duration(r.WaitedSeconds*float64(time.Second)).Round(time.Millisecond))
}

func waitSpec() *spec {
	var projection string
	var timeout time.Duration
	return &spec{
		use: "wait TOKEN", short: "Wait until a projection has applied an event",
		long: `Waits until a projection has applied every event of a token, which Receipt.Token
makes where events are written. It asks the projection's own database (--postgres)
and nothing else, as a role that may read schema runnel_projections.`,
		example: `  runnel wait "$TOKEN" --projection fulfilment --postgres postgres://shop@localhost/fulfilment
  runnel wait "$TOKEN" --projection fulfilment --timeout 1m -o json`,
		args: oneArg("TOKEN"),
		flags: func(cmd *cobra.Command) {
			cmd.Flags().StringVar(&projection, "projection", "", "`name` of the projection; required")
			cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "`limit` for the events to be applied")
		},
		run: func(ctx context.Context, c *call) (any, error) {
			switch {
			case projection == "":
				return nil, ErrUsage.New("--projection is missing").Fix("Write the projection's name: `--projection fulfilment`.")
			case timeout <= 0:
				return nil, ErrUsage.New("--timeout is %s", timeout).Fix("Give a positive time, such as `--timeout 10s`.")
			}
			cfg, err := c.config("postgres.url")
			if err != nil {
				return nil, err
			}
			conn, err := c.deps.postgres(ctx, cfg, "wait")
			if err != nil {
				return nil, err
			}
			defer wire.Close(conn)
			began := time.Now()
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			if err := consumers.WaitFor(ctx, conn, projection, c.args[0]); err != nil {
				if fault.Find(err) == nil {
					err = wire.QueryFault(err, "look at what the projection has applied")
				}
				return nil, err
			}
			return waitResult{Projection: projection, WaitedSeconds: time.Since(began).Seconds()}, nil
		},
	}
}
