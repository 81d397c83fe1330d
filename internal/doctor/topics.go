package doctor

import (
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/router"
)

// Rules are the configured routes as the router takes them.
func Rules(cfg *config.Config) []router.RouteRule {
	rules := make([]router.RouteRule, len(cfg.Routes))
	for i, r := range cfg.Routes {
		rules[i] = router.RouteRule{Aggregate: r.Aggregate, Type: r.Type, Topic: r.Topic}
	}
	return rules
}

// TopicName is the full name of a topic of the pipeline's namespace.
func TopicName(cfg *config.Config, local string) string {
	return "persistent://" + cfg.Topics.Namespace + "/" + local
}
