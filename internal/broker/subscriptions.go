package broker

import (
	"cmp"
	"context"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Subscription is a subscription of a partitioned topic, over all of its partitions.
type Subscription struct {
	Name    string
	Type    string // Failover, Shared, ...; "" when no consumer has connected yet
	Backlog int64  // entries that are not acknowledged; an entry is a batch of messages
	// Readers: it lasts as long as who reads. Name is what all readers of a program have
	// in common (see nameOfReaders), and there is no backlog.
	Readers bool
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

// Subscriptions lists a topic's subscriptions by name, those of readers behind the
// durable ones: each reader of a partition has one while it is connected.
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
	merged := make(map[string]*Subscription)
	for _, partition := range answer.Partitions {
		for name, s := range partition.Subscriptions {
			merge(merged, name, s)
		}
	}
	all := make([]Subscription, 0, len(merged))
	for _, s := range merged {
		slices.SortFunc(s.Consumers, SubscriptionConsumer.compare)
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Subscription) int {
		if a.Readers != b.Readers {
			return map[bool]int{true: 1, false: -1}[a.Readers]
		}
		return strings.Compare(a.Name, b.Name)
	})
	return all, nil
}

// A client makes the name of a reader's subscription: "reader-0123456789", or with a
// prefix "prefix-reader-0123456789" (Java, Python).
var readerName = regexp.MustCompile(`^(?:(.+)-)?reader-[0-9A-Za-z]+$`)

// nameOfReaders returns a reader's subscription without what is random in it.
func nameOfReaders(subscription string) string {
	found := readerName.FindStringSubmatch(subscription)
	if found == nil {
		return subscription
	}
	return cmp.Or(found[1], "reader")
}

// merge adds what a partition has of a subscription.
func merge(merged map[string]*Subscription, name string, s subscriptionStats) {
	key := "durable " + name
	if !s.Durable {
		if len(s.Consumers) == 0 { // it is about to go
			return
		}
		name = nameOfReaders(name)
		key = "readers " + name
	}
	all := merged[key]
	if all == nil {
		all = &Subscription{Name: name, Readers: !s.Durable}
		merged[key] = all
	}
	all.Type = cmp.Or(all.Type, s.Type)
	if s.Durable {
		all.Backlog += s.Backlog
	}
	for _, c := range s.Consumers {
		known := SubscriptionConsumer{c.Name, strings.TrimPrefix(c.Address, "/"), c.Since, c.Metadata}
		if !s.Durable {
			known.Name = "" // another one for each partition
		}
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
