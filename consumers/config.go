package consumers

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/internal/consumerhook"
	"github.com/runnel-cdc/runnel/internal/readerinfo"
)

// DefaultNamespace is the Pulsar namespace of Runnel's topics.
const DefaultNamespace = "public/runnel"

// Config configures a Projection. Name and Database are required.
type Config struct {
	// Name is the projection's name: of its subscription, and of the Postgres
	// schema of its tables. Lower-case letters, digits and _, beginning with a
	// letter, at most 50 bytes. Required.
	Name string
	// Version counts the projection's definitions, from 1. A version above the one
	// that the database holds is built beside it, from the start of the topics, and
	// takes its place when it has caught up; Run refuses one below. Default: 1.
	Version int
	// AllowMissing lets a copy be built from what its topics still hold, although
	// events are gone: at their beginning, or, of a version that is built beside
	// another, anywhere. Otherwise that is ErrGap, as it is for a copy that was
	// built. What the copy goes without is logged.
	AllowMissing bool
	// AllowUnhandled names event types of which this version passed events before it
	// had a handler for them, and which it may take from now on. Otherwise that is
	// ErrHandlerLate: a version that was built with the handler would hold another
	// copy.
	AllowUnhandled []string
	// Database holds the copy and the positions. Each partition uses at most
	// one connection at a time. Required; the caller closes it after Run.
	Database *pgxpool.Pool
	// Broker says where Pulsar is. Default: the RUNNEL_* environment.
	Broker BrokerConfig
	// Namespace is that of topics given by their local name and of the default
	// topics. Default: public/runnel.
	Namespace string
	// Topics are local names, or full ones (persistent://tenant/ns/name).
	// Default: one per aggregate type of the handled event types. Required
	// with HandleBatch.
	Topics []string
	// Foreign lists messages that are passed over although Runnel did not write them,
	// each as ErrForeignMessage names it, such as
	// "persistent://public/runnel/order-partition-0 19:0:0". They reach no handler, move
	// no position and are logged; events that are missing around them are ErrGap as
	// ever. Every instance needs the list, and every version that is built from the
	// start of the topics. Default: none, Run ends at the first.
	Foreign []string
	// Migrate creates the projection's tables, with unqualified names: the
	// search path leads to the schema Name. It runs once per name and version,
	// in one transaction with the record that it ran. Default: no tables.
	Migrate func(context.Context, pgx.Tx) error
	// Retry says when a failing event is tried again, before it is parked for a
	// person. Default: 3 tries at once, then after 1, 10 and 60 s.
	Retry Retry
	// ParkLimit bounds the events of one partition that are put aside, because they
	// failed or wait behind one that did. The next one that fails then keeps its
	// whole partition waiting. Default: 100,000.
	ParkLimit int
	// WaitWindow is how long the ids of passed events are kept, for WaitFor: longer
	// than any reader waits, and than an event takes to arrive. Without it WaitFor
	// sees what was written only where later events follow. At least 1 s.
	// Default: 0, no ids are kept.
	WaitWindow time.Duration
	// BatchSize is the largest number of events of one partition that share a
	// transaction, from 1 to 10,000. Default: 100.
	BatchSize int
	// BatchBytes bounds the payload bytes that one partition holds in memory
	// beyond the client's receive queue; one event may exceed it. Default: 4 MiB.
	BatchBytes int
	// TransactionIdle is how long Postgres lets a transaction sit idle before
	// it ends it, so that a frozen instance gives its partitions up. A handler
	// that leaves its transaction alone for longer fails. At least 1 s.
	// Default: 1 minute.
	TransactionIdle time.Duration
	// Logger receives what an operator should know. Default: slog.Default().
	Logger *slog.Logger
	// Observer is told what happens, for metrics. Default: nothing is told.
	Observer Observer
}

// Retry says when a failing event is tried again. While it waits, the events of
// its key wait behind it, and others go on; no transaction is open. An event that
// cannot be decoded is parked at once.
type Retry struct {
	// Immediate is the number of tries without a pause, the first included.
	// Default: 3.
	Immediate int
	// Delays are the pauses before the tries that follow; after the last of them
	// the event is parked. Default: 1 s, 10 s, 60 s.
	Delays []time.Duration
}

// BrokerConfig says where Pulsar is and how to get in. TLS is used with
// pulsar+ssl:// and https://, and certificate and host name are verified.
type BrokerConfig struct {
	// URL is pulsar:// or pulsar+ssl://. Default: RUNNEL_PULSAR_URL, else
	// pulsar://127.0.0.1:6650.
	URL string
	// AdminURL is http:// or https://; schemas are fetched there. Default:
	// RUNNEL_PULSAR_ADMIN_URL, else http://127.0.0.1:8080.
	AdminURL string
	// TokenFile holds the token to authenticate with; it is read again when it
	// changes. Default: RUNNEL_PULSAR_TOKEN_FILE, else none.
	TokenFile string
	// CAFile holds the certificate authorities to trust, in PEM. Default:
	// RUNNEL_PULSAR_CA_FILE, else the system's.
	CAFile string
	// Logger receives the client's messages, and what Subscribe has to say.
	// Default: slog.Default(), or the Config's.
	Logger *slog.Logger

	name    string              // of this instance, in the broker's statistics
	reader  readerinfo.Info     // shown there with it
	connect connector           // how to connect; nil: Pulsar
	hooks   *consumerhook.Hooks // of package consumertest; nil: none
}

// instance names this process as one that runs a projection or subscription.
func instance(of string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s@%s/%d", of, host, os.Getpid())
}

// WithDefaults returns b with every empty field set to its default.
func (b BrokerConfig) WithDefaults() BrokerConfig {
	set := func(field *string, variable, otherwise string) {
		if *field == "" {
			*field = os.Getenv(variable)
		}
		if *field == "" {
			*field = otherwise
		}
	}
	set(&b.URL, "RUNNEL_PULSAR_URL", "pulsar://127.0.0.1:6650")
	set(&b.AdminURL, "RUNNEL_PULSAR_ADMIN_URL", "http://127.0.0.1:8080")
	set(&b.TokenFile, "RUNNEL_PULSAR_TOKEN_FILE", "")
	set(&b.CAFile, "RUNNEL_PULSAR_CA_FILE", "")
	if b.Logger == nil {
		b.Logger = slog.Default()
	}
	if b.connect == nil {
		b.connect = connectPulsar
	}
	return b
}

// validate reports what is wrong with b, which has its defaults.
func (b BrokerConfig) validate() error {
	if !strings.HasPrefix(b.URL, "pulsar://") && !strings.HasPrefix(b.URL, "pulsar+ssl://") {
		return ErrConfig.New("Broker.URL is neither pulsar:// nor pulsar+ssl://")
	}
	if !strings.HasPrefix(b.AdminURL, "http://") && !strings.HasPrefix(b.AdminURL, "https://") {
		return ErrConfig.New("Broker.AdminURL is neither http:// nor https://")
	}
	return nil
}

// WithDefaults returns c with every empty field set to its default, except
// Topics, which depends on the handlers.
func (c Config) WithDefaults() Config {
	if c.Version == 0 {
		c.Version = 1
	}
	if c.Namespace == "" {
		c.Namespace = DefaultNamespace
	}
	c.Retry = c.Retry.withDefaults()
	if c.ParkLimit == 0 {
		c.ParkLimit = 100_000
	}
	if c.BatchSize == 0 {
		c.BatchSize = 100
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = 4 << 20
	}
	if c.TransactionIdle == 0 {
		c.TransactionIdle = time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Broker.Logger == nil {
		c.Broker.Logger = c.Logger
	}
	c.Broker = c.Broker.WithDefaults()
	c.Broker.name = instance(c.Name)
	return c
}

func (r Retry) withDefaults() Retry {
	if r.Immediate == 0 {
		r.Immediate = 3
	}
	if len(r.Delays) == 0 {
		r.Delays = []time.Duration{time.Second, 10 * time.Second, time.Minute}
	}
	return r
}

var (
	// nameForm leaves room for suffixes such as _next within Postgres' 63 bytes.
	nameForm  = regexp.MustCompile(`^[a-z][a-z0-9_]{0,49}$`)
	namespace = regexp.MustCompile(`^[-=:.\w]+/[-=:.\w]+$`)
	localName = regexp.MustCompile(`^[-=:.\w]+$`)
)

// reserved are schemas that are not a projection's to fill.
var reserved = []string{"public", "runnel", bookkeeping, "information_schema"}

// validate reports what is wrong with c, which has its defaults.
func (c Config) validate() error {
	switch {
	case !nameForm.MatchString(c.Name):
		return ErrConfig.New("Name %.60q is not of lower-case letters, digits and _, beginning with a letter, at most 50 bytes", c.Name)
	case slices.Contains(reserved, c.Name) || strings.HasPrefix(c.Name, "pg_"):
		return ErrConfig.New("Name %q is reserved", c.Name)
	case c.Version < 1:
		return ErrConfig.New("Version is %d: it counts from 1", c.Version)
	case c.Database == nil:
		return ErrConfig.New("Database is missing")
	case !namespace.MatchString(c.Namespace):
		return ErrConfig.New("Namespace %.100q is not of the form tenant/namespace", c.Namespace)
	case c.BatchSize < 1 || c.BatchSize > 10_000:
		return ErrConfig.New("BatchSize is %d: it must be from 1 to 10000", c.BatchSize)
	case c.BatchBytes < 1:
		return ErrConfig.New("BatchBytes is %d: it must be positive", c.BatchBytes)
	case c.TransactionIdle < time.Second:
		return ErrConfig.New("TransactionIdle is %s: it must be at least 1 s", c.TransactionIdle)
	case c.WaitWindow != 0 && c.WaitWindow < time.Second:
		return ErrConfig.New("WaitWindow is %s: it must be 0 or at least 1 s", c.WaitWindow)
	case c.ParkLimit < 1:
		return ErrConfig.New("ParkLimit is %d: it must be positive", c.ParkLimit)
	case c.Retry.Immediate < 1:
		return ErrConfig.New("Retry.Immediate is %d: it must be at least 1", c.Retry.Immediate)
	}
	for _, d := range c.Retry.Delays {
		if d <= 0 {
			return ErrConfig.New("Retry.Delays holds %s: delays must be positive", d)
		}
	}
	if _, err := topicNames(c.Namespace, c.Topics); err != nil {
		return err
	}
	return c.Broker.validate()
}

// subscription returns the name of the projection's subscription. A version of
// its own lets a later version start at the beginning of the topics.
func (c Config) subscription() string { return subscriptionOf(c.Name, c.Version) }

func subscriptionOf(projection string, version int) string {
	if version == 1 {
		return projection
	}
	return fmt.Sprintf("%s-v%d", projection, version)
}

// topicNames returns the full names of topics.
func topicNames(ns string, topics []string) ([]string, error) {
	full := make([]string, 0, len(topics))
	for _, t := range topics {
		name, found := strings.CutPrefix(t, "persistent://")
		if !found {
			name = ns + "/" + t
		}
		parts := strings.Split(name, "/")
		if len(parts) != 3 || !namespace.MatchString(parts[0]+"/"+parts[1]) || !localName.MatchString(parts[2]) {
			return nil, ErrConfig.New("Topics holds %.200q, which is neither a local name nor persistent://tenant/namespace/name", t)
		}
		name = "persistent://" + name
		if slices.Contains(full, name) {
			return nil, ErrConfig.New("Topics holds %s twice", name)
		}
		full = append(full, name)
	}
	return full, nil
}
