package demo

import (
	"context"
	"fmt"
	"net/url"
)

// keep says how to look at what runs, and waits until ctx ends.
func (d *demo) keep(ctx context.Context) error {
	common := fmt.Sprintf("RUNNEL_POSTGRES_URL='%s' RUNNEL_PULSAR_URL=%s RUNNEL_PULSAR_ADMIN_URL=%s RUNNEL_TOPICS_NAMESPACE=%s RUNNEL_SCHEMAS=%s RUNNEL_HTTP=%s",
		d.source.daemonURL, d.Servers.PulsarURL, d.Servers.PulsarAdminURL, d.namespace(), d.dir+"/schemas", d.daemon.http)
	d.say.heading("Everything keeps running until Ctrl-C. Paste, in another terminal:")
	d.say.line("  events as they pass\n    %s %s tail -f\n", common, d.Binary)
	d.say.line("  publish one more, as the service that may only publish\n    psql '%s' -c \"select runnel.publish('order', '42', 'OrderShipped', '{\\\"order_id\\\": \\\"42\\\", \\\"carrier\\\": \\\"DHL\\\", \\\"shipped_at\\\": \\\"2026-01-01T12:00:00Z\\\"}')\"\n", d.source.serviceURL)
	d.say.line("  the local copy\n    psql '%s' -c 'select * from fulfilment.orders limit 5'\n", d.copy.serviceURL)
	d.say.line("  the daemon\n    curl http://%s/status", d.daemon.http)
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.daemon.exited:
		d.daemon.exited <- err
		return fmt.Errorf("the daemon: %w", err)
	}
}

func redactURL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}
