package cli

import (
	"context"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/config"
)

// demoOptions are what the demo is run with.
type demoOptions struct {
	out  io.Writer // where it tells what happens
	keep bool
	pg   string // major version of a Postgres that is started
	// Servers that are given are used, not started. "": start one.
	postgres, pulsar, pulsarAdmin string
}

func demoSpec() *spec {
	var keep bool
	var pg string
	return &spec{
		use:   "demo",
		short: "Show the whole way on servers of its own",
		long: `Starts a Postgres and a Pulsar on this machine, runs the example through the
real daemon, shows events for about 15 s and ends with a table that checks
itself: the exit code is 1 if it does not add up. Everything is removed at the
end and on Ctrl-C. Servers given by flag or environment (with a superuser) are
used instead of starting some; those of a configuration file are not.`,
		example: "  runnel demo\n  runnel demo --keep",
		flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&keep, "keep", false, "leave everything running, and say how to look at it")
			pgFlag(cmd, &pg)
		},
		run: func(ctx context.Context, c *call) (any, error) {
			cfg, err := c.config()
			if err != nil {
				return nil, err
			}
			o := demoOptions{out: c.stdout, keep: keep, pg: pg}
			if c.output == "json" { // standard output is the envelope's
				o.out = c.stderr
			}
			o.postgres = given(cfg, "postgres.url", cfg.Postgres.URL)
			o.pulsar = given(cfg, "pulsar.url", cfg.Pulsar.URL)
			o.pulsarAdmin = given(cfg, "pulsar.admin_url", cfg.Pulsar.AdminURL)
			return nil, c.deps.runDemo(ctx, o)
		},
	}
}

// given returns a value that was given for this call, "" for one from a file:
// the demo creates databases and must not find a production server by itself.
func given(cfg *config.Config, key, value string) string {
	if slices.Contains([]string{"flag", "environment"}, cfg.OriginOf(key).Kind) {
		return value
	}
	return ""
}
