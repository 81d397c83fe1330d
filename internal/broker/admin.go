package broker

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"
)

// Admin is what Runnel needs from a cluster's admin interface. Implementations:
// *Pulsar and package memory.
type Admin interface {
	// EnsureNamespace creates the namespace (tenant/name) when it is missing
	// and sets the policies that differ. It says in words what it changed.
	EnsureNamespace(ctx context.Context, namespace string, p NamespacePolicy) (changed []string, err error)
	// CheckNamespace lists what differs, without changing anything; a missing
	// namespace is one deviation.
	CheckNamespace(ctx context.Context, namespace string, p NamespacePolicy) ([]Deviation, error)
	// EnsureTopic creates the partitioned topic when it is missing; with a
	// retention (nil: the namespace's) it sets the topic's own. An existing
	// topic with another number of partitions is ErrPartitionCount.
	EnsureTopic(ctx context.Context, topic string, partitions int, r *Retention) (created bool, err error)
	// CheckTopic describes a topic; ErrTopicMissing when it does not exist.
	CheckTopic(ctx context.Context, topic string) (TopicState, error)
	// Health reports whether the admin interface answers and a broker can
	// publish and read; to a role that is no superuser, whether it is ready.
	Health(ctx context.Context) error
	// ClusterName returns the name of the cluster that answers.
	ClusterName(ctx context.Context) (string, error)
	// HTTP returns a client that carries the token and trusts the CA file, for
	// the schema registry; AdminURL is the address without a trailing slash.
	HTTP() *http.Client
	AdminURL() string
}

// Retention says how long acknowledged messages stay. The zero value: forever.
type Retention struct {
	Time  time.Duration // in whole minutes, rounded up; 0: unlimited
	Bytes int64         // per partition, in whole MiB, rounded up; 0: unlimited
}

// String describes the retention.
func (r Retention) String() string { return r.wire().String() }

// retentionPolicy is Retention as the admin interface writes it; -1: unlimited.
type retentionPolicy struct {
	Minutes int64 `json:"retentionTimeInMinutes"`
	MB      int64 `json:"retentionSizeInMB"`
}

// Exceeds reports whether r keeps anything that less does not.
func (r Retention) Exceeds(less Retention) bool {
	have := r.wire()
	return have.exceeds(less.wire())
}

func (r Retention) wire() retentionPolicy {
	p := retentionPolicy{-1, -1}
	if r.Time > 0 {
		p.Minutes = int64((r.Time + time.Minute - 1) / time.Minute)
	}
	if r.Bytes > 0 {
		p.MB = (r.Bytes + 1<<20 - 1) >> 20
	}
	return p
}

// Deviation is a namespace policy that is not as Runnel needs it.
type Deviation struct {
	Policy string // e.g. "deduplication"
	Have   string
	Want   string
	Fatal  bool // publishing would not be exactly once, or could stop working
	// Deletes: to set what is wanted lets the broker delete messages that are kept now.
	Deletes bool
	Fix     string // a pulsar-admin command
}

// missingNamespace is Policy of a deviation that is the lack of all.
const missingNamespace = "namespace"

// Missing reports whether there is no such namespace.
func (d Deviation) Missing() bool { return d.Policy == missingNamespace }

// TopicState describes a partitioned topic.
type TopicState struct {
	Topic          string
	Partitions     int
	Deduplication  bool // as it is in effect
	MaxMessageSize int  // bytes, of broker and policy together
}

// Health implements Admin.
func (p *Pulsar) Health(ctx context.Context) error {
	var answer string
	_, err := p.rest.call(ctx, http.MethodGet, "/brokers/health", nil, &answer)
	if errors.Is(err, ErrForbidden) { // the broker's check of itself is for superusers
		_, err = p.rest.call(ctx, http.MethodGet, "/brokers/ready", nil, &answer)
	}
	if err != nil {
		return err
	}
	if strings.TrimSpace(answer) != "ok" {
		return ErrAdmin.New("the broker's health check says %q", clip(answer))
	}
	return nil
}

// ClusterName implements Admin. Where several clusters share a configuration
// store it returns all their names, joined by commas.
func (p *Pulsar) ClusterName(ctx context.Context) (string, error) {
	var clusters []string
	if _, err := p.rest.call(ctx, http.MethodGet, "/clusters", nil, &clusters); err != nil {
		return "", err
	}
	return strings.Join(clusters, ","), nil
}

// HTTP implements Admin.
func (p *Pulsar) HTTP() *http.Client { return p.rest.http }

// AdminURL implements Admin.
func (p *Pulsar) AdminURL() string { return p.rest.base }
