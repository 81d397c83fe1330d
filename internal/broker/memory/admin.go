package memory

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// EnsureNamespace implements broker.Admin.
func (b *Broker) EnsureNamespace(_ context.Context, namespace string, p broker.NamespacePolicy) ([]string, error) {
	if strings.Count(namespace, "/") != 1 {
		return nil, broker.ErrConfig.New("%q is not a namespace of the form tenant/name", namespace)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	have, ok := b.namespaces[namespace]
	b.namespaces[namespace] = p
	switch {
	case !ok:
		return []string{"namespace " + namespace + " created"}, nil
	case have != p:
		return []string{"retention: " + have.Retention.String() + " -> " + p.Retention.String()}, nil
	}
	return nil, nil
}

// CheckNamespace implements broker.Admin.
func (b *Broker) CheckNamespace(_ context.Context, namespace string, p broker.NamespacePolicy) ([]broker.Deviation, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	have, ok := b.namespaces[namespace]
	switch {
	case !ok:
		return []broker.Deviation{{Policy: "namespace", Have: "missing", Want: "present", Fatal: true}}, nil
	case have != p:
		return []broker.Deviation{{Policy: "retention", Have: have.Retention.String(), Want: p.Retention.String(), Deletes: have.Retention.Exceeds(p.Retention)}}, nil
	}
	return nil, nil
}

// EnsureTopic implements broker.Admin.
func (b *Broker) EnsureTopic(_ context.Context, name string, partitions int, _ *broker.Retention) (bool, error) {
	rest, ok := strings.CutPrefix(name, "persistent://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 || parts[2] == "" {
		return false, broker.ErrConfig.New("%q is not a topic of the form persistent://tenant/namespace/name", name)
	}
	if partitions < 1 {
		return false, broker.ErrConfig.New("%s: a topic needs at least one partition, not %d", name, partitions)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.topics[name]; t != nil {
		if len(t.partitions) != partitions {
			return false, broker.ErrPartitionCount.New("%s has %d partitions, not %d", name, len(t.partitions), partitions)
		}
		return false, nil
	}
	if _, ok := b.namespaces[parts[0]+"/"+parts[1]]; !ok {
		return false, broker.ErrAdmin.New("creating %s: its namespace does not exist", name)
	}
	t := &topic{name: name, deduplication: true}
	for i := range partitions {
		t.partitions = append(t.partitions, &partition{id: broker.Partition{Topic: name, Index: i}, topic: t, ledger: int64(i + 1)})
	}
	b.topics[name] = t
	b.notify()
	return true, nil
}

// CreateUnpartitioned makes a topic that is not partitioned, as an early
// subscriber would where topics are created automatically.
func (b *Broker) CreateUnpartitioned(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.topics[name] = &topic{name: name, deduplication: true}
}

// CheckTopic implements broker.Admin.
func (b *Broker) CheckTopic(_ context.Context, name string) (broker.TopicState, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topics[name]
	if t == nil {
		return broker.TopicState{}, broker.ErrTopicMissing.New("%s does not exist", name)
	}
	return broker.TopicState{Topic: name, Partitions: len(t.partitions), Deduplication: t.deduplication, MaxMessageSize: t.limit(b)}, nil
}

// Health implements broker.Admin.
func (b *Broker) Health(context.Context) error { return nil }

// ClusterName implements broker.Admin.
func (b *Broker) ClusterName(context.Context) (string, error) { return "memory", nil }

// AdminURL implements broker.Admin; only HTTP's client can reach it.
func (b *Broker) AdminURL() string { return "http://memory" }

// HTTP implements broker.Admin. Its client reaches the schema registry.
func (b *Broker) HTTP() *http.Client { return &http.Client{Transport: registry{b}} }

// RegisterSchema registers a definition for a topic. The same definition keeps
// its version.
func (b *Broker) RegisterSchema(topicName, name, definition string) (*broker.Schema, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.topics[topicName]
	if t == nil {
		return nil, broker.ErrTopicMissing.New("%s does not exist", topicName)
	}
	s := broker.Schema{Name: name, JSON: definition}
	if s.Version = t.version(&s); s.Version < 0 {
		s.Version = int64(len(t.schemas))
		t.schemas = append(t.schemas, s)
	}
	return &s, nil
}

// Schemas returns a topic's schemas, oldest first.
func (b *Broker) Schemas(topicName string) []broker.Schema {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.topics[topicName]; t != nil {
		return slices.Clone(t.schemas)
	}
	return nil
}
