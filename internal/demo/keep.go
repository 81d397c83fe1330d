package demo

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// onePlaced is an event that the local copy can take.
const onePlaced = `select runnel.publish('order', '42', 'OrderPlaced', '{"order_id": "42", "customer_id": "6f2c1f5e-1111-4222-8333-444455556666", ` +
	`"lines": [], "total": 12.50, "currency": "EUR", "placed_at": "2026-01-01T12:00:00Z"}')`

// keep says how to look at what runs, and waits until ctx ends. The exports are
// what examples/readers/README.md asks for.
func (d *demo) keep(ctx context.Context) error {
	d.say.heading("Everything keeps running until Ctrl-C. To look around, paste this into another terminal:\n")
	for _, setting := range d.settings() {
		d.say.line("    export %s='%s'", setting[0], setting[1])
	}
	d.say.line("\n  events as they pass\n    '%s' tail -f\n", d.Binary)
	d.say.line("  the pipeline\n    '%s' status\n", d.Binary)
	d.say.line("  publish one more, as the service that may only publish\n    psql '%s' -c \"%s\"\n", d.source.serviceURL, strings.ReplaceAll(onePlaced, `"`, `\"`))
	d.say.line("  the local copy\n    psql '%s' -c 'select * from fulfilment.orders limit 5'\n", d.copy.serviceURL)
	d.say.line("  more copies, in Java and Python\n    examples/readers/README.md")
	select {
	case <-ctx.Done():
		return nil
	case <-d.daemon.Done():
		return fmt.Errorf("the daemon: %w", d.daemon.ended())
	}
}

// settings are those of the commands, and of the readers in examples.
func (d *demo) settings() [][2]string {
	all := [][2]string{
		{"RUNNEL_POSTGRES_URL", d.source.daemonURL},
		{"RUNNEL_PULSAR_URL", d.Servers.PulsarURL},
		{"RUNNEL_PULSAR_ADMIN_URL", d.Servers.PulsarAdminURL},
	}
	for _, name := range []string{"RUNNEL_PULSAR_TOKEN_FILE", "RUNNEL_PULSAR_CA_FILE"} {
		if value := os.Getenv(name); value != "" {
			all = append(all, [2]string{name, value})
		}
	}
	return append(all, [][2]string{
		{"RUNNEL_TOPICS_NAMESPACE", d.namespace()},
		{"RUNNEL_SCHEMAS", filepath.Join(d.dir, "schemas")},
		{"RUNNEL_HTTP", d.daemon.http},
	}...)
}

func redactURL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}
