package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/nearest"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/router"
)

// routeResult says where an event goes and why.
type routeResult struct {
	EventType     string      `json:"event_type"`
	AggregateType string      `json:"aggregate_type"`
	Topic         string      `json:"topic"` // full name
	Rule          int         `json:"rule"`  // counted from 1; 0: the default
	Rules         []routeRule `json:"rules"` // all that were tried, the matching one last
	Why           string      `json:"why"`
	Key           string      `json:"key,omitempty"`
	Partition     *int        `json:"partition,omitempty"` // of the key
	Partitions    int         `json:"partitions"`
}

type routeRule struct {
	config.Route
	Matched bool `json:"matched"`
}

func (r routeResult) text(p *printer) {
	p.line("%s %s %s", clean(r.EventType), p.sign("→", "->"), p.paint(bold, clean(r.Topic)))
	for i, rule := range r.Rules {
		sign := p.paint(faint, p.sign("✗", "no "))
		if rule.Matched {
			sign = p.paint(green, p.sign("✓", "yes"))
		}
		p.line("  %s rule %d: aggregate %s, type %s: topic %s", sign, i+1, clean(rule.Aggregate), clean(rule.Type), clean(rule.Topic))
	}
	p.line("  %s", clean(r.Why))
	if r.Partition != nil {
		p.line("  key %q: partition %d of %d", r.Key, *r.Partition, r.Partitions)
	}
}

func routeSpec() *spec {
	var aggregate, key string
	return &spec{
		use:     "route",
		short:   "Look at the routes",
		long:    "Commands on the routes that decide an event's topic.",
		example: "  runnel route explain OrderPlaced",
		sub: []*spec{{
			use:   "explain TYPE",
			short: "Say where an event goes and why",
			long: `Says which topic the events of a type go to, which rule decides it, and, with a
key, which partition. The aggregate type comes from the catalog (--schemas), or
is given. It connects to nothing: the partition is that of a topic with
topics.partitions partitions.`,
			example: `  runnel route explain OrderPlaced --schemas ./schemas
  runnel route explain OrderPlaced --aggregate order --key 42`,
			args: oneArg("TYPE"),
			flags: func(cmd *cobra.Command) {
				cmd.Flags().StringVar(&aggregate, "aggregate", "", "aggregate `type`; default: the catalog's")
				cmd.Flags().StringVar(&key, "key", "", "aggregate `id`, to learn its partition")
			},
			run: func(_ context.Context, c *call) (any, error) {
				cfg, err := c.config()
				if err != nil {
					return nil, err
				}
				return explainRoute(cfg, c.args[0], aggregate, key)
			},
		}},
	}
}

func explainRoute(cfg *config.Config, eventType, aggregate, key string) (any, error) {
	if aggregate == "" {
		var err error
		if aggregate, err = aggregateOf(cfg, eventType); err != nil {
			return nil, err
		}
	}
	routes, err := router.NewRoutes(wire.Rules(cfg))
	if err != nil {
		return nil, err
	}
	m := routes.Explain(aggregate, eventType)
	r := routeResult{
		EventType: eventType, AggregateType: aggregate, Topic: wire.TopicName(cfg.Topics.Namespace, m.Topic),
		Rule: m.Rule + 1, Rules: []routeRule{}, Partitions: cfg.Topics.Partitions,
		Why: fmt.Sprintf("no rule matches: the topic is the aggregate type, %s", aggregate),
	}
	if len(cfg.Routes) == 0 {
		r.Why = fmt.Sprintf("there are no routes: the topic is the aggregate type, %s", aggregate)
	}
	for i, rule := range cfg.Routes {
		r.Rules = append(r.Rules, routeRule{rule, i == m.Rule})
		if i == m.Rule {
			r.Why = fmt.Sprintf("rule %d is the first that matches aggregate %s, type %s", i+1, aggregate, eventType)
			break
		}
	}
	if key != "" {
		n := router.PartitionOf([]byte(key), cfg.Topics.Partitions)
		r.Key, r.Partition = key, &n
	}
	return r, nil
}

// aggregateOf finds an event's aggregate type in the catalog.
func aggregateOf(cfg *config.Config, eventType string) (string, error) {
	if cfg.Schemas == "" {
		return "", ErrUsage.New("the aggregate type of %.100q is not known", eventType).
			Fix("Give --aggregate, or the catalog with --schemas.")
	}
	catalog, err := wire.Catalog(cfg.Schemas)
	if err != nil {
		return "", err
	}
	if e, ok := catalog.Event(eventType); ok {
		return e.AggregateType, nil
	}
	var names []string
	for _, e := range catalog.Events() {
		names = append(names, e.Name)
	}
	e := ErrEventUnknown.New("the catalog %s has no event type %.100q", cfg.Schemas, eventType)
	if near := nearest.Of(eventType, names); near != "" {
		return "", e.Fix("Did you mean %s?", near)
	}
	return "", e
}
