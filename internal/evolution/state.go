package evolution

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/deadletter"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// Cluster is what is asked of Pulsar. *broker.Pulsar is one.
type Cluster interface {
	CheckNamespace(ctx context.Context, namespace string, p broker.NamespacePolicy) ([]broker.Deviation, error)
	SetNamespacePolicy(ctx context.Context, namespace, name string, p broker.NamespacePolicy) error
	Topics(ctx context.Context, namespace string) ([]string, error)
	Partitions(ctx context.Context, topic string) (int, error)
	EnsureTopic(ctx context.Context, topic string, partitions int, r *broker.Retention) (created bool, err error)
	KeepsForever(ctx context.Context, topic string) (bool, error)
	Subscriptions(ctx context.Context, topic string) ([]broker.Subscription, error)
	HTTP() *http.Client
	AdminURL() string
}

// Target is where a catalog is to be applied.
type Target struct {
	Namespace  string // tenant/namespace
	Policy     broker.NamespacePolicy
	Partitions int // of topics that are made
	// History is the local name of the pipeline's history topic, which has one partition
	// and no schema.
	History string
	// DeadLetters is that of its dead-letter topic, alike; "" when it needs none.
	DeadLetters string
	// TopicOf returns the local name of the topic of an event.
	TopicOf func(aggregateType, eventType string) string
}

// own reports whether a topic is one of the pipeline's own, that no event of a catalog
// goes to, and what it is.
func (t Target) own(local string) (what string, ok bool) {
	switch local {
	case "":
		return "", false
	case t.History:
		return "the pipeline's history", true
	case t.DeadLetters:
		return "the pipeline's dead letters", true
	}
	return "", false
}

func (t Target) topicOf(e *schemas.EventType) string { return t.TopicOf(e.AggregateType, e.Name) }

// State is what the cluster and the source database hold now.
type State struct {
	Target     Target
	Deviations []broker.Deviation // of the namespace's policies
	// Topics are those that events of the catalog go to, those that registered types go
	// to, and all others of the namespace, by name.
	Topics []Topic
	// Types are what writers may publish; nil when the source database was not asked.
	Types []outbox.RegisteredType
	Asked bool // whether it was
	// Published are the topics that were published to, by full name, each with the number
	// of partitions that stays its own.
	Published map[string]int
}

// Topic is a topic as it is now.
type Topic struct {
	Name       string // local
	Full       string
	Exists     bool
	Partitions int  // 0: it is not partitioned
	Trimmed    bool // it is the pipeline's own, and retention would take what is in it
	Versions   []*schemas.TopicSchema
	Others     []schemas.OtherVersion // beside those
	next       int64                  // number of the next version
	Readers    []Reader
	// Foreign is why its schemas are not Runnel's; nil when they are.
	Foreign error
}

// newest returns the version registered last, or nil.
func (t *Topic) newest() *schemas.TopicSchema {
	if len(t.Versions) == 0 {
		return nil
	}
	return t.Versions[len(t.Versions)-1]
}

// observeAtOnce bounds the topics that are looked at together.
const observeAtOnce = 8

// Scope says how much is looked at.
type Scope int

// The scopes.
const (
	Everything    Scope = iota
	CatalogTopics       // only the topics that the catalog's events go to, without their readers
)

// Observe reads the state that concerns a catalog, and changes nothing. db may be nil:
// then the registered types are not looked at.
func Observe(ctx context.Context, cluster Cluster, db *pgx.Conn, target Target, c *schemas.Catalog, scope Scope) (*State, error) {
	s := &State{Target: target}
	var err error
	if s.Deviations, err = cluster.CheckNamespace(ctx, target.Namespace, target.Policy); err != nil {
		return nil, err
	}
	if db != nil {
		s.Asked = true
		if s.Types, err = outbox.EventTypes(ctx, db); err != nil {
			return nil, err
		}
		if s.Published, err = outbox.PublishedPartitions(ctx, db, ""); err != nil {
			return nil, err
		}
	}
	names, err := s.topicNames(ctx, cluster, c, scope)
	if err != nil {
		return nil, err
	}
	registry := schemas.NewRegistry(cluster.AdminURL(), cluster.HTTP())
	s.Topics = make([]Topic, len(names))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(observeAtOnce)
	for i, name := range names {
		s.Topics[i] = Topic{Name: name, Full: wire.TopicName(target.Namespace, name)}
		group.Go(func() error {
			if err := s.Topics[i].observe(inner, cluster, registry, scope); err != nil {
				return err
			}
			return s.Topics[i].observeRetention(inner, cluster, target)
		})
	}
	return s, group.Wait()
}

// topicNames returns the local names of all topics to look at.
func (s *State) topicNames(ctx context.Context, cluster Cluster, c *schemas.Catalog, scope Scope) ([]string, error) {
	var names []string
	for _, e := range c.Events() {
		names = append(names, s.Target.topicOf(e))
	}
	for _, t := range s.Types {
		names = append(names, s.Target.TopicOf(t.AggregateType, t.Name))
	}
	if scope == Everything && !slices.ContainsFunc(s.Deviations, broker.Deviation.Missing) {
		there, err := cluster.Topics(ctx, s.Target.Namespace)
		if err != nil {
			return nil, err
		}
		for _, full := range there {
			names = append(names, full[strings.LastIndexByte(full, '/')+1:])
		}
	}
	// Those of other pipelines are theirs to make.
	names = slices.DeleteFunc(names, func(name string) bool { return history.IsTopic(name) || deadletter.IsTopic(name) })
	for _, own := range []string{s.Target.History, s.Target.DeadLetters} {
		if own != "" {
			names = append(names, own)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (t *Topic) observe(ctx context.Context, cluster Cluster, registry *schemas.Registry, scope Scope) error {
	var err error
	t.Partitions, err = cluster.Partitions(ctx, t.Full)
	if errors.Is(err, broker.ErrTopicMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	t.Exists = true
	h, err := registry.History(ctx, t.Full)
	t.Versions, t.Others, t.next = h.Versions, h.Others, max(0, h.Next)
	if len(t.Versions) == 0 && len(t.Others) > 0 {
		t.Foreign = t.Others[0].Err
	}
	if err != nil || t.Partitions == 0 || scope != Everything {
		return err
	}
	subscriptions, err := cluster.Subscriptions(ctx, t.Full)
	t.Readers = readers(t.Name, subscriptions)
	return err
}

// observeRetention looks whether the pipeline's own topics are kept. What is in them is
// nowhere else, or tells of all that ever was.
func (t *Topic) observeRetention(ctx context.Context, cluster Cluster, target Target) error {
	if _, own := target.own(t.Name); !own || !t.Exists || !target.trims() {
		return nil
	}
	kept, err := cluster.KeepsForever(ctx, t.Full)
	t.Trimmed = !kept
	return err
}

// trims reports whether retention is limited.
func (t Target) trims() bool { return t.Policy.Retention != broker.Retention{} }

// History returns the versions of all events that the registry holds.
func (s *State) History() History {
	h := make(History)
	for _, here := range []bool{false, true} { // where an event goes now comes last
		for i := range s.Topics {
			h.add(&s.Topics[i], s.Target, here)
		}
	}
	return h
}

// Readers returns the readers of all topics.
func (s *State) Readers() []Reader {
	var all []Reader
	for _, t := range s.Topics {
		all = append(all, t.Readers...)
	}
	return all
}
