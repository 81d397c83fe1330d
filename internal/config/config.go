package config

import "time"

// Forever is the duration written "forever".
const Forever time.Duration = -1

// Park is the value of Capture.Poison that parks events.
const Park = "park"

// LZ4 is the value of topics.compression that compresses.
const LZ4 = "lz4"

// HTTPOff is the value of Config.HTTP that serves nothing.
const HTTPOff = "off"

// Config is the configuration of one pipeline. Each field names its key in
// runnel.yaml; the environment variable of a.b is RUNNEL_A_B. A Config is made
// by Load and not changed afterwards; it is safe for concurrent use.
type Config struct {
	// Name (name) is the pipeline's: in the slot's, the producers' and the
	// dead-letter topic's names. Lower-case letters, digits and _, at most 56.
	// Default: the database's name, other characters replaced by _.
	Name string
	// Schemas (schemas) is the folder of *.avsc files. A relative path in the
	// file counts from the file's folder. Default: none.
	Schemas string

	Postgres Postgres
	Pulsar   Pulsar
	Capture  Capture
	Outbox   Outbox
	Roles    Roles
	Topics   Topics

	// Routes (routes) decide the topic of an event: the first match wins.
	// Default: none; without a match the topic is the aggregate type.
	Routes []Route
	// HTTP (http) is where /healthz, /readyz, /status and /metrics are served:
	// host:port with the host written out, or HTTPOff; "" is HTTPOff. If the port
	// is taken, a free one is used and printed. Default: 127.0.0.1:9464.
	HTTP string
	Log  Log

	// File is the configuration file that was read, "" if none was.
	File string
	// Warnings are things that look like mistakes but do no harm.
	Warnings []string

	origins map[string]Origin
	refused map[string]refusal // by key
	unread  bool               // the file is no YAML that could be read
}

// HTTPAddress is where the daemon listens, "" for nowhere.
func (c *Config) HTTPAddress() string {
	if c.HTTP == HTTPOff {
		return ""
	}
	return c.HTTP
}

// Postgres is the source database.
type Postgres struct {
	// URL (postgres.url, --postgres) is a connection URL or keyword/value
	// string. Default: none. Use Config.PostgresURL, which adds the password.
	URL string
	// PasswordFile (postgres.password_file) holds the password; it is read for
	// each connection. Default: none.
	PasswordFile string
	// Password (RUNNEL_POSTGRES_PASSWORD only) is the alternative. Default: none.
	Password string
}

// Pulsar is the broker.
type Pulsar struct {
	// URL (pulsar.url, --pulsar): pulsar://host:6650 or pulsar+ssl://host:6651.
	// Default: none.
	URL string
	// AdminURL (pulsar.admin_url, --pulsar-admin): http://host:8080 or
	// https://host:8443. Default: none.
	AdminURL string
	// TokenFile (pulsar.token_file) holds the JWT; read again when it changes.
	// Default: none.
	TokenFile string
	// CAFile (pulsar.ca_file) holds trusted certificates (PEM). Default: the
	// system's.
	CAFile string
}

// Capture is how the write-ahead log is read.
type Capture struct {
	// Slot (capture.slot) is the replication slot. Lower-case letters, digits
	// and _, at most 63. Default: runnel_<name>.
	Slot string
	// Poison (capture.poison) is what happens to an event that cannot be
	// published: stop, which halts at it, or Park. Default: stop.
	Poison string
	// ParkedLimit (capture.parked_limit) is how many events may be parked before
	// the pipeline halts; 1 to 1000000. Default: 10000.
	ParkedLimit int
	// InFlight (capture.in_flight) bounds the bytes read but not acknowledged,
	// 64KiB to 16GiB. Default: 16MiB.
	InFlight int64
	// Stall (capture.stall) is how long nothing may be acknowledged while
	// something is in flight before the run starts over; at least 1s.
	// Default: 60s.
	Stall time.Duration
}

// Outbox is the housekeeping of the table runnel.outbox.
type Outbox struct {
	// Retention (outbox.retention) is the age from which confirmed partitions
	// are dropped; at least 1h, or Forever. Default: 7d.
	Retention time.Duration
}

// Roles are the database roles that init makes, without superuser. They belong
// to the whole cluster: databases share them unless the names differ.
type Roles struct {
	// Owner (roles.owner) owns the schema. Default: runnel_owner. The role that
	// reads watched tables is named after it: runnel_reader.
	Owner string
	// Writer (roles.writer) may publish. Default: runnel_writer.
	Writer string
	// Daemon (roles.daemon) replicates and keeps house. Default: runnel_daemon.
	Daemon string
}

// Topics are the topics Runnel creates.
type Topics struct {
	// Namespace (topics.namespace) is tenant/namespace, Runnel's own: policies
	// are set on it. Default: public/runnel.
	Namespace string
	// Partitions (topics.partitions) of a new topic, for life; 1 to 1024.
	// Default: 4.
	Partitions int
	// Retention (topics.retention) of messages; at least 1h, or Forever. It must
	// exceed the longest lag of the slot. Default: forever.
	Retention time.Duration
	// Compression (topics.compression) of what is published: LZ4 or none. Default: LZ4.
	Compression string
	// Foreign (topics.foreign) are messages of other publishers that the daemon passes
	// over, as FOREIGN_MESSAGE names them, separated by commas. Default: none.
	Foreign string
}

// Log is what `run` writes to standard error.
type Log struct {
	// Level (log.level): debug, info, warn or error. Default: info.
	Level string
	// Format (log.format): auto (coloured on a terminal, text otherwise), text
	// or json. Default: auto.
	Format string
}

// Route sends matching events to a topic.
type Route struct {
	// Aggregate and Type are globs on aggregate type and event type: * for any
	// number of characters, ? for one, [a-z] for one of these. Default: *.
	Aggregate string `json:"aggregate"`
	Type      string `json:"type"`
	// Topic is a local topic name in Topics.Namespace. Required.
	Topic string `json:"topic"`
}

// Origin says where a value came from.
type Origin struct {
	Kind string // default, file, environment or flag
	At   string // path:line:col, the variable, or the flag; "" for a default
}
