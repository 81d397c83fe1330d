package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

var pulsarChecks = []Check{
	{Name: "pulsar", About: "the broker answers and lets us in", Run: checkPulsar},
	{Name: "pulsar-admin", About: "the admin interface answers, and a broker is healthy", Needs: []string{"pulsar"}, Run: checkAdmin},
	{Name: "namespace", About: "the namespace has the policies that exactly once needs", Needs: []string{"pulsar-admin"}, Run: checkNamespace},
	{Name: "topics", About: "the catalog's topics are there, partitioned and deduplicated", Needs: []string{"namespace", "catalog"}, Run: checkTopics},
	{Name: "former-topics", About: "topics that were published to, and that no route leads to any more, are there", Needs: []string{"outbox", "catalog", "pulsar-admin"}, Run: checkFormerTopics},
	{Name: "topic-schemas", About: "the registry holds the catalog's events", Needs: []string{"topics"}, Run: checkTopicSchemas},
	{Name: "parked", About: "no event waits in the pipeline's dead-letter topic", Needs: []string{"pulsar-admin"}, Run: checkParked},
}

func checkPulsar(ctx context.Context, s *Session) (string, error) {
	if err := s.cfg.Need("pulsar.url", "pulsar.admin_url"); err != nil {
		return "", err
	}
	client, err := broker.Dial(ctx, wire.Broker(s.cfg))
	if err != nil {
		return "", err
	}
	s.pulsar = client
	return brokerVersion(client.ServerVersion()) + " at " + config.Redact(s.cfg.Pulsar.URL), nil
}

// brokerVersion is the version for people: brokers call themselves
// "Pulsar Server4.0.8", and other implementations as they like.
func brokerVersion(name string) string {
	if version, ok := strings.CutPrefix(name, "Pulsar Server"); ok {
		return "Pulsar " + strings.TrimLeft(version, " -")
	}
	return name
}

func checkAdmin(ctx context.Context, s *Session) (string, error) {
	if err := s.pulsar.Health(ctx); err != nil {
		return "", err
	}
	return "healthy, by " + config.Redact(s.cfg.Pulsar.AdminURL), nil
}

func checkNamespace(ctx context.Context, s *Session) (string, error) {
	namespace := s.cfg.Topics.Namespace
	retention := broker.Retention{Time: max(s.cfg.Topics.Retention, 0)}
	deviations, err := s.pulsar.CheckNamespace(ctx, namespace, broker.NamespacePolicy{Retention: retention})
	if errors.Is(err, broker.ErrForbidden) {
		return "", warning{ErrPoliciesUnread.New("the token's role may not read them").At("%s", namespace)}
	}
	if err != nil {
		return "", err
	}
	if len(deviations) == 0 {
		return namespace + " has the policies that are needed", nil
	}
	fatal := false
	var differ, fix []string
	for _, d := range deviations {
		fatal = fatal || d.Fatal
		differ = append(differ, fmt.Sprintf("%s is %s, not %s", d.Policy, d.Have, d.Want))
		fix = append(fix, "  "+d.Fix)
	}
	e := broker.ErrNamespacePolicy.New("%s", strings.Join(differ, "; ")).At("%s", namespace).
		Fix("Run `runnel schemas plan`, then `runnel schemas apply`; or:\n%s", strings.Join(fix, "\n"))
	if !fatal {
		return "", warning{e}
	}
	return "", e
}

// topicsOf returns the full names of the topics that the catalog's events are
// routed to, and the events of each.
func topicsOf(s *Session) (names []string, events map[string][]*schemas.EventType, err error) {
	routes, err := router.NewRoutes(wire.Rules(s.cfg))
	if err != nil {
		return nil, nil, err
	}
	events = map[string][]*schemas.EventType{}
	for _, e := range s.catalog.Events() {
		name := wire.TopicName(s.cfg.Topics.Namespace, routes.Explain(e.AggregateType, e.Name).Topic)
		if events[name] == nil {
			names = append(names, name)
		}
		events[name] = append(events[name], e)
	}
	return names, events, nil
}

// historyTopic is the full name of the pipeline's history topic.
func historyTopic(s *Session) string {
	return wire.TopicName(s.cfg.Topics.Namespace, history.Topic(s.cfg.Name))
}

// neededTopics returns the full names of the topics that the daemon needs.
func neededTopics(s *Session) ([]string, error) {
	names, _, err := topicsOf(s)
	if err != nil {
		return nil, err
	}
	names = append(names, historyTopic(s))
	if s.cfg.Capture.Poison == config.Park {
		names = append(names, wire.TopicName(s.cfg.Topics.Namespace, deadletter.Topic(s.cfg.Name)))
	}
	return names, nil
}

// checkFormerTopics looks for topics that are gone and that the daemon does not miss, as long
// as no event goes there.
func checkFormerTopics(ctx context.Context, s *Session) (string, error) {
	needed, err := neededTopics(s)
	if err != nil {
		return "", err
	}
	published, err := outbox.PublishedPartitions(ctx, s.pg, s.cfg.Name)
	if err != nil {
		return "", queryFault(err, "read the topics that were published to")
	}
	former, gone := 0, []string(nil)
	for _, name := range slices.Sorted(maps.Keys(published)) {
		if slices.Contains(needed, name) {
			continue // the check "topics" says it
		}
		former++
		_, err := s.pulsar.Partitions(ctx, name)
		switch {
		case errors.Is(err, broker.ErrTopicMissing):
			gone = append(gone, name)
		case err != nil:
			return "", err
		}
	}
	if len(gone) > 0 {
		return "", warning{ErrFormerTopic.New("published to by former routes, and not there any more: %s", strings.Join(gone, ", "))}
	}
	return Count(former, "topic") + " of former routes", nil
}

func checkTopics(ctx context.Context, s *Session) (string, error) {
	names, err := neededTopics(s)
	if err != nil {
		return "", err
	}
	var published map[string]int // with how many partitions; not known without the database
	if s.pg != nil {
		published, _ = outbox.PublishedPartitions(ctx, s.pg, "") // what keeps it from being read, other checks say
	}
	var found []string
	var faults []error
	for _, name := range names {
		t, err := s.pulsar.CheckTopic(ctx, name)
		switch {
		case errors.Is(err, broker.ErrTopicMissing) && published[name] > 0:
			faults = append(faults, pipeline.Deleted(name))
		case err != nil:
			faults = append(faults, err)
		case t.Partitions == 0:
			faults = append(faults, broker.ErrTopicMissing.New("the topic is not partitioned").At("%s", name).
				Fix("Route to another topic, or delete this one if its content may be lost: Runnel's topics are partitioned from the start."))
		case !t.Deduplication:
			faults = append(faults, broker.ErrDeduplicationOff.New("deduplication is off").At("%s", name).
				Fix("Run `pulsar-admin topicPolicies set-deduplication %s --enable`.", name))
		case published[name] > t.Partitions:
			faults = append(faults, broker.ErrPartitionCount.New("%d partitions were published to, and there are %d: it was deleted and made anew", published[name], t.Partitions).At("%s", name))
		default:
			count := Count(t.Partitions, "partition")
			if n := published[name]; n > 0 && n < t.Partitions {
				count = fmt.Sprintf("%d of %s: those that were added stay empty", n, count)
			}
			found = append(found, fmt.Sprintf("%s (%s)", name[strings.LastIndexByte(name, '/')+1:], count))
		}
	}
	if len(faults) > 0 {
		return "", errors.Join(faults...)
	}
	return strings.Join(found, ", "), nil
}

func checkParked(ctx context.Context, s *Session) (string, error) {
	all, err := pipeline.ParkedEvents(ctx, s.pulsar, s.cfg.Topics.Namespace, s.cfg.Name)
	if err != nil || len(all) == 0 {
		return "nothing is parked", err
	}
	since, aggregates := all[0].Committed, make(map[deadletter.Key]bool)
	for _, l := range all {
		since, aggregates[l.Key] = min(since, l.Committed), true
	}
	return "", warning{ErrParked.New("%s of %s, the first of %s ago, because of %s", Count(len(all), "event"),
		Count(len(aggregates), "aggregate"), FormatAge(time.UnixMicro(since)), all[0].Code)}
}

func checkTopicSchemas(ctx context.Context, s *Session) (string, error) {
	names, events, err := topicsOf(s)
	if err != nil {
		return "", err
	}
	registry := schemas.NewRegistry(s.pulsar.AdminURL(), s.pulsar.HTTP())
	var faults []error
	for _, name := range names {
		versions, err := registry.Versions(ctx, name)
		if err != nil {
			return "", err
		}
		held := map[schemas.Fingerprint]bool{}
		for _, v := range versions {
			for _, b := range v.Events() {
				held[b.Fingerprint] = true
			}
		}
		for _, e := range events[name] {
			if !held[e.Fingerprint] {
				faults = append(faults, pipeline.ErrNotApplied.New("no registered schema holds event %s as the catalog has it", e.Name).At("%s", name))
			}
		}
	}
	if len(faults) > 0 {
		return "", errors.Join(faults...)
	}
	return Count(len(s.catalog.Events()), "event") + " of the catalog, all registered", nil
}
