package cli

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/demo"
)

// runDemo runs the demo with this binary as the daemon.
func runDemo(ctx context.Context, o demoOptions) error {
	return demo.Run(ctx, demo.Options{
		Out: o.out, Keep: o.keep, PGVersion: o.pg,
		Servers: demo.Servers{PostgresURL: o.postgres, PulsarURL: o.pulsar, PulsarAdminURL: o.pulsarAdmin},
	})
}
