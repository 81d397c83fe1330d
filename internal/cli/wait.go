package cli

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/consumers"
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
			projectionFlag(cmd, &projection)
			cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "`limit` for the events to be applied")
		},
		run: func(ctx context.Context, c *call) (any, error) {
			if err := requireProjection(projection); err != nil {
				return nil, err
			}
			if timeout <= 0 {
				return nil, ErrUsage.New("--timeout is %s", timeout).Fix("Give a positive time, such as `--timeout 10s`.")
			}
			return withCopies(ctx, c, "wait", "look at what the projection has applied", func(conn *pgx.Conn) (any, error) {
				began := time.Now()
				ctx, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				err := consumers.WaitFor(ctx, conn, projection, c.args[0])
				return waitResult{Projection: projection, WaitedSeconds: time.Since(began).Seconds()}, err
			})
		},
	}
}
