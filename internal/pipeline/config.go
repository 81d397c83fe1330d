package pipeline

import (
	"log/slog"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/router"
)

// Config describes a pipeline.
type Config struct {
	// Name identifies the pipeline in the slot's and producers' names. Required.
	Name string
	// Postgres returns the address of the source database, with the password.
	// It is asked for every connection but the two of a run's start, so that a
	// changed password is taken up. Required.
	Postgres func() (string, error)
	// Slot is the replication slot. Default: runnel_<Name>.
	Slot string
	// Publication holds the outbox. Default: runnel.
	Publication string
	// Broker is where Pulsar is. Required.
	Broker broker.Config
	// Namespace holds the topics. Default: public/runnel.
	Namespace string
	// Partitions of a topic that is created. Default: 4.
	Partitions int
	// Foreign are messages that Runnel did not publish, and that are passed over, as
	// FOREIGN_MESSAGE names them, separated by commas.
	Foreign string
	// Retention of a namespace that is created. Zero or less: forever.
	Retention time.Duration
	// Schemas is the catalog's folder. Required.
	Schemas string
	// Routes; none: an event's topic is its aggregate type.
	Routes []router.RouteRule
	// InFlight bounds the bytes read and not yet acknowledged. Default: 16 MiB.
	InFlight int
	// Stall ends a run in which nothing is acknowledged for so long. Default: 60 s.
	Stall time.Duration
	// Park parks events that can't be published in the pipeline's dead-letter topic,
	// ParkedLimit of them at most. Default: no, and 10,000.
	Park        bool
	ParkedLimit int
	// Recheck is how long a halted pipeline waits before it looks again. Default: 30 s.
	Recheck time.Duration
	// OutboxRetention keeps outbox partitions for so long. Zero: 7 days. Less: forever.
	OutboxRetention time.Duration
	// Roles that AutoApply makes. Default: runnel_owner, runnel_writer, runnel_daemon; and runnel_reader.
	Roles outbox.Roles
	// AutoApply creates what is missing: outbox, namespace, topics, schemas.
	AutoApply bool
	// HTTP is the address of health, metrics and status. Empty: none. When its
	// port is taken, a free one of the same address is used.
	HTTP string
	// Version is told by the metrics.
	Version string
	// Logger. Default: slog.Default().
	Logger *slog.Logger
}

// WithDefaults fills in what is not set.
func (c Config) WithDefaults() Config {
	def(&c.Slot, "runnel_"+c.Name)
	def(&c.Publication, "runnel")
	def(&c.Namespace, "public/runnel")
	def(&c.Partitions, 4)
	def(&c.InFlight, 16<<20)
	def(&c.Stall, time.Minute)
	def(&c.ParkedLimit, 10_000)
	def(&c.Recheck, 30*time.Second)
	def(&c.OutboxRetention, 7*24*time.Hour)
	def(&c.Version, "unknown")
	def(&c.Logger, slog.Default())
	return c
}

func def[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}
