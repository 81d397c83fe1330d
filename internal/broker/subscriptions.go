package broker

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
)

// Subscription is a durable subscription of a partitioned topic, over all of its
// partitions.
type Subscription struct {
	Name    string
	Type    string // Failover, Shared, ...; "" when no consumer has connected yet
	Backlog int64  // entries that are not acknowledged; an entry is a batch of messages
	// Consumers are those connected now, by name and address, each once however many
	// partitions it has.
	Consumers []SubscriptionConsumer
}

// SubscriptionConsumer is a consumer connected to a topic.
type SubscriptionConsumer struct {
	Name       string
	Address    string
	Since      string            // RFC 3339, as the broker says it
	Properties map[string]string // as the consumer told: Config.Properties for Runnel's
}

// subscriptionStats is the part of a subscription's statistics that is used.
type subscriptionStats struct {
	Type      string `json:"type"`
	Backlog   int64  `json:"msgBacklog"`
	Durable   bool   `json:"durable"`
	Consumers []struct {
		Name     string            `json:"consumerName"`
		Address  string            `json:"address"`
		Since    string            `json:"connectedSince"`
		Metadata map[string]string `json:"metadata"`
	} `json:"consumers"`
}

// Subscriptions lists a topic's durable subscriptions by name. Readers, which have
// none, are not among them.
func (p *Pulsar) Subscriptions(ctx context.Context, topic string) ([]Subscription, error) {
	path, err := topicPath(topic)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Partitions map[string]struct {
			Subscriptions map[string]subscriptionStats `json:"subscriptions"`
		} `json:"partitions"`
	}
	_, err = p.rest.call(ctx, http.MethodGet,
		path+"/partitioned-stats?perPartition=true&getPreciseBacklog=false&subscriptionBacklogSize=false&excludePublishers=true", nil, &answer)
	if status(err) == http.StatusNotFound {
		return nil, ErrTopicMissing.Wrap(err, "%s", topic)
	}
	if err != nil {
		return nil, err
	}
	byName := make(map[string]*Subscription)
	for _, partition := range answer.Partitions {
		for name, s := range partition.Subscriptions {
			if s.Durable {
				merge(byName, name, s)
			}
		}
	}
	all := make([]Subscription, 0, len(byName))
	for _, s := range byName {
		slices.SortFunc(s.Consumers, SubscriptionConsumer.compare)
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Subscription) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// merge adds what a partition has of a subscription.
func merge(byName map[string]*Subscription, name string, s subscriptionStats) {
	all := byName[name]
	if all == nil {
		all = &Subscription{Name: name}
		byName[name] = all
	}
	all.Type = cmp.Or(all.Type, s.Type)
	all.Backlog += s.Backlog
	for _, c := range s.Consumers {
		known := SubscriptionConsumer{c.Name, strings.TrimPrefix(c.Address, "/"), c.Since, c.Metadata}
		i := slices.IndexFunc(all.Consumers, func(o SubscriptionConsumer) bool { return o.compare(known) == 0 })
		switch {
		case i < 0:
			all.Consumers = append(all.Consumers, known)
		case known.Since < all.Consumers[i].Since:
			all.Consumers[i].Since = known.Since
		}
	}
}

func (c SubscriptionConsumer) compare(o SubscriptionConsumer) int {
	return cmp.Or(strings.Compare(c.Name, o.Name), strings.Compare(c.Address, o.Address))
}
