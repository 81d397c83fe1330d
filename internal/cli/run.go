package cli

import (
	"context"
	"log/slog"
	"net/url"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
)

// daemonOptions are what the daemon is started with.
type daemonOptions struct {
	config    *config.Config
	autoApply bool
	logger    *slog.Logger
}

// runDaemon runs the pipeline until ctx ends.
func runDaemon(ctx context.Context, o daemonOptions) error {
	pipeline.LimitMemory(o.config.Capture.InFlight)
	p, err := pipeline.New(pipelineConfig(o))
	if err != nil {
		return err
	}
	return p.Run(ctx)
}

// pipelineConfig is the configuration as a pipeline takes it.
func pipelineConfig(o daemonOptions) pipeline.Config {
	cfg := o.config
	pulsar := wire.Broker(cfg)
	pulsar.Logger = o.logger
	return pipeline.Config{
		Name:            cfg.Name,
		Postgres:        cfg.PostgresURL,
		Slot:            cfg.Capture.Slot,
		Publication:     outbox.Publication,
		Broker:          pulsar,
		Namespace:       cfg.Topics.Namespace,
		Partitions:      cfg.Topics.Partitions,
		Retention:       max(cfg.Topics.Retention, 0),
		Foreign:         cfg.Topics.Foreign,
		Schemas:         cfg.Schemas,
		Routes:          wire.Rules(cfg),
		InFlight:        int(cfg.Capture.InFlight),
		Stall:           cfg.Capture.Stall,
		Park:            cfg.Capture.Poison == config.Park,
		ParkedLimit:     cfg.Capture.ParkedLimit,
		OutboxRetention: cfg.Outbox.Retention,
		Roles:           outbox.Roles(cfg.Roles),
		AutoApply:       o.autoApply,
		HTTP:            cfg.HTTPAddress(),
		Version:         buildVersion().Version,
		Logger:          o.logger,
	}
}

func runSpec() *spec {
	var autoApply bool
	return &spec{
		use:   "run",
		short: "Publish the outbox's events: the daemon",
		long: `Publishes the outbox's events to Pulsar until it is stopped. What fails and may
pass is tried again with backoff; what needs a person halts the pipeline, which
stays up, unready, says what to do and looks again every 30 s.

The first SIGINT or SIGTERM stops reading, waits for what is in flight and exits
with 0; the second exits at once, with 130 or 143. Nothing is lost either way.

--auto-apply creates what is missing: outbox, namespace, topics, schemas, event
types. Without it, a run halts at what is missing and names it.

Logs go to standard error. It serves /healthz, /readyz, /status and /metrics.`,
		example: `  runnel run --auto-apply --postgres URL --pulsar URL --pulsar-admin URL --schemas DIR
  runnel run --config /etc/runnel.yaml`,
		flags: func(cmd *cobra.Command) {
			cmd.Flags().BoolVar(&autoApply, "auto-apply", false, "create what is missing")
			addHTTPFlag(cmd)
			addLogFlags(cmd)
		},
		run: func(ctx context.Context, c *call) (any, error) {
			cfg, err := c.config("postgres.url", "pulsar.url", "pulsar.admin_url", "schemas")
			if err != nil {
				return nil, err
			}
			c.banner(cfg)
			return nil, c.deps.runDaemon(ctx, daemonOptions{cfg, autoApply, c.logger(cfg.Log)})
		},
	}
}

func addHTTPFlag(cmd *cobra.Command) {
	cmd.Flags().String("http", "127.0.0.1:9464", "`address` of health, status and metrics, or off (RUNNEL_HTTP)")
}

func addLogFlags(cmd *cobra.Command) {
	cmd.Flags().String("log-level", "info", "`level`: debug, info, warn or error (RUNNEL_LOG_LEVEL)")
	cmd.Flags().String("log-format", "auto", "`format`: auto, text or json (RUNNEL_LOG_FORMAT)")
	completeFrom(cmd, "log-level", "debug", "info", "warn", "error")
	completeFrom(cmd, "log-format", "auto", "text", "json")
}

// banner says on a terminal what the daemon works with; logs tell the rest.
func (a *app) banner(cfg *config.Config) {
	if !isTerminal(a.stderr) {
		return
	}
	p := newPrinter(a, a.stderr)
	rows := [][]string{
		{"pipeline", cfg.Name}, {"database", databaseAddress(cfg)}, {"broker", config.Redact(cfg.Pulsar.URL)},
		{"admin", config.Redact(cfg.Pulsar.AdminURL)}, {"topics", cfg.Topics.Namespace}, {"schemas", cfg.Schemas},
	}
	if address := cfg.HTTPAddress(); address != "" {
		rows = append(rows, []string{"metrics", "http://" + address + "/metrics"})
	}
	p.table(rows, func(_, column int, text string) string {
		if column == 0 {
			return p.paint(faint, text)
		}
		return clean(text)
	})
	p.line("")
}

// databaseAddress is user@host:port/database, without a secret.
func databaseAddress(cfg *config.Config) string {
	c, err := pgx.ParseConfig(cfg.Postgres.URL)
	if err != nil {
		return config.Redact(cfg.Postgres.URL)
	}
	u := url.URL{Scheme: "postgres", User: url.User(c.User), Host: c.Host, Path: "/" + c.Database}
	return u.String()
}
