package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/runnel-cdc/runnel/internal/devstack"
)

// startServers starts the servers that were not given.
func (d *demo) startServers(ctx context.Context) error {
	began := time.Now()
	stack, err := devstack.Up(ctx, devstack.Options{
		Postgres: true, Pulsar: true, Ephemeral: true, PGVersion: d.PGVersion,
		PostgresURL: d.Servers.PostgresURL, PulsarURL: d.Servers.PulsarURL, PulsarAdminURL: d.Servers.PulsarAdminURL,
		Progress: func(text string) { d.say.line("  %s", text) },
	})
	if err != nil {
		return err
	}
	d.later(stack.Down)
	d.Servers = Servers{stack.PostgresURL, stack.PulsarURL, stack.PulsarAdminURL}
	d.say.pair("database", redactURL(stack.PostgresURL))
	d.say.pair("broker", stack.PulsarURL)
	d.say.pair("console", stack.PulsarAdminURL+"/admin/v2")
	d.say.pair("ready", fmt.Sprintf("after %.1f s", time.Since(began).Seconds()))
	return nil
}
