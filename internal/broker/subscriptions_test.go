package broker_test

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/brokertest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/properties"
)

// TestSubscriptions: who consumes a topic, over its partitions: with what a consumer
// tells of itself, and how much each subscription has not acknowledged; and who reads
// it without one.
func TestSubscriptions(t *testing.T) {
	cfg := brokertest.Config(t)
	admin := brokertest.Dial(t)
	namespace := brokertest.Namespace(t, admin)
	topic := "persistent://" + namespace + "/order"
	if _, err := admin.Subscriptions(t.Context(), topic); !errors.Is(err, broker.ErrTopicMissing) {
		t.Fatalf("of no topic: %v", err)
	}
	if _, err := admin.EnsureTopic(t.Context(), topic, 2, nil); err != nil {
		t.Fatal(err)
	}
	if all, err := admin.Topics(t.Context(), namespace); err != nil || !slices.Equal(all, []string{topic}) {
		t.Fatalf("topics %v, %v", all, err)
	}
	if all, err := admin.Topics(t.Context(), namespace+"-missing"); err != nil || len(all) != 0 {
		t.Fatalf("topics of no namespace: %v, %v", all, err)
	}
	if all, err := admin.Subscriptions(t.Context(), topic); err != nil || len(all) != 0 {
		t.Fatalf("of an unused topic: %v, %v", all, err)
	}
	cfg.Name, cfg.Properties = "billing at host-1", map[string]string{"runnel.projection": "billing"}
	client := brokertest.DialConfig(t, cfg)
	for i := range 2 {
		if _, err := client.Subscribe(t.Context(), broker.Partition{Topic: topic, Index: i}, "billing"); err != nil {
			t.Fatal(err)
		}
	}
	gone, err := client.Subscribe(t.Context(), broker.Partition{Topic: topic}, "audit")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for i := range 2 { // one reader for each partition, as programs have that keep no subscription
		reader, err := client.Read(t.Context(), broker.Partition{Topic: topic, Index: i}, broker.Start{})
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
	}
	publishRaw(t, cfg, broker.Partition{Topic: topic}, "stranger", []*broker.Outgoing{
		{Key: "a", Payload: []byte("1"), Properties: properties.List{{Name: position.Property, Value: "x"}}},
		{Key: "a", Payload: []byte("2"), Properties: properties.List{{Name: position.Property, Value: "x"}}},
	})
	var all []broker.Subscription
	eventually(t, "the backlog is two", func() bool {
		if all, err = admin.Subscriptions(t.Context(), topic); err != nil {
			t.Fatal(err)
		}
		return len(all) == 3 && all[1].Backlog == 2
	})
	audit, billing, readers := all[0], all[1], all[2]
	if readers.Name != "reader" || !readers.Readers || readers.Backlog != 0 || len(readers.Consumers) != 1 || !maps.Equal(readers.Consumers[0].Properties, cfg.Properties) {
		t.Errorf("%+v: want one program that reads", readers)
	}
	if audit.Name != "audit" || len(audit.Consumers) != 0 {
		t.Errorf("%+v: want a subscription that nobody is connected to", audit)
	}
	if billing.Name != "billing" || billing.Type != "Failover" || billing.Backlog != 2 || len(billing.Consumers) != 1 {
		t.Fatalf("%+v: want one consumer of two partitions", billing)
	}
	c := billing.Consumers[0]
	if c.Name != cfg.Name || c.Address == "" || c.Since == "" || !maps.Equal(c.Properties, cfg.Properties) {
		t.Errorf("%+v: want what it told of itself", c)
	}
}
