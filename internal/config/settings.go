package config

import (
	"strings"
	"time"
)

// A setting is one key of the configuration.
type setting struct {
	key     string
	def     string // "" leaves the zero value
	flag    string // without --; "" if it has none
	envOnly bool   // a secret: refused in the file
	path    bool   // a relative path counts from the file's folder
	redact  func(string) string
	field   func(*Config) value
}

// env returns the setting's environment variable.
func (s *setting) env() string { return EnvName(s.key) }

// EnvName returns the environment variable of a key: a.b is RUNNEL_A_B.
func EnvName(key string) string {
	return "RUNNEL_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// settings are all keys, in the order in which `config show` prints them.
// Bounds that concern one value alone are here, others in validate.go.
var settings = []*setting{
	{key: "name", flag: "name", field: func(c *Config) value {
		return textValue{&c.Name, "a name of lower-case letters, digits and _"}
	}},
	{key: "schemas", flag: "schemas", path: true, field: func(c *Config) value {
		return textValue{&c.Schemas, "a folder"}
	}},
	{key: "postgres.url", flag: "postgres", redact: redactURL, field: func(c *Config) value {
		return textValue{&c.Postgres.URL, "a URL such as postgres://user@host/database"}
	}},
	{key: "postgres.password_file", path: true, field: func(c *Config) value {
		return textValue{&c.Postgres.PasswordFile, "a file"}
	}},
	{key: "postgres.password", envOnly: true, redact: redactAll, field: func(c *Config) value {
		return textValue{&c.Postgres.Password, "a password"}
	}},
	{key: "pulsar.url", flag: "pulsar", redact: redactURL, field: func(c *Config) value {
		return textValue{&c.Pulsar.URL, "a URL such as pulsar://host:6650"}
	}},
	{key: "pulsar.admin_url", flag: "pulsar-admin", redact: redactURL, field: func(c *Config) value {
		return textValue{&c.Pulsar.AdminURL, "a URL such as http://host:8080"}
	}},
	{key: "pulsar.token_file", path: true, field: func(c *Config) value {
		return textValue{&c.Pulsar.TokenFile, "a file"}
	}},
	{key: "pulsar.ca_file", path: true, field: func(c *Config) value {
		return textValue{&c.Pulsar.CAFile, "a file"}
	}},
	{key: "capture.slot", field: func(c *Config) value {
		return textValue{&c.Capture.Slot, "a slot name of lower-case letters, digits and _"}
	}},
	{key: "capture.poison", def: "stop", field: func(c *Config) value {
		return choiceValue{&c.Capture.Poison, []string{"stop", Park}}
	}},
	{key: "capture.parked_limit", def: "10000", field: func(c *Config) value {
		return intValue{&c.Capture.ParkedLimit, 1, 1_000_000}
	}},
	{key: "capture.in_flight", def: "16MiB", field: func(c *Config) value {
		return sizeValue{&c.Capture.InFlight, 64 << 10, 16 << 30}
	}},
	{key: "capture.stall", def: "60s", field: func(c *Config) value {
		return durationValue{p: &c.Capture.Stall, min: time.Second}
	}},
	{key: "outbox.retention", def: "7d", field: func(c *Config) value {
		return durationValue{p: &c.Outbox.Retention, min: time.Hour, forever: true}
	}},
	{key: "roles.owner", def: "runnel_owner", flag: "role-owner", field: func(c *Config) value {
		return textValue{&c.Roles.Owner, "a role"}
	}},
	{key: "roles.writer", def: "runnel_writer", flag: "role-writer", field: func(c *Config) value {
		return textValue{&c.Roles.Writer, "a role"}
	}},
	{key: "roles.daemon", def: "runnel_daemon", flag: "role-daemon", field: func(c *Config) value {
		return textValue{&c.Roles.Daemon, "a role"}
	}},
	{key: "topics.namespace", def: "public/runnel", field: func(c *Config) value {
		return textValue{&c.Topics.Namespace, "tenant/namespace"}
	}},
	{key: "topics.partitions", def: "4", field: func(c *Config) value {
		return intValue{&c.Topics.Partitions, 1, 1024}
	}},
	{key: "topics.retention", def: "forever", field: func(c *Config) value {
		return durationValue{p: &c.Topics.Retention, min: time.Hour, forever: true}
	}},
	{key: "topics.compression", def: LZ4, field: func(c *Config) value {
		return choiceValue{&c.Topics.Compression, []string{LZ4, "none"}}
	}},
	{key: "topics.foreign", field: func(c *Config) value {
		return textValue{&c.Topics.Foreign, "messages as FOREIGN_MESSAGE names them, separated by commas"}
	}},
	{key: "routes", field: func(c *Config) value { return routesValue{&c.Routes} }},
	{key: "http", def: "127.0.0.1:9464", flag: "http", field: func(c *Config) value {
		return textValue{&c.HTTP, "host:port, or off"}
	}},
	{key: "log.level", def: "info", flag: "log-level", field: func(c *Config) value {
		return choiceValue{&c.Log.Level, []string{"debug", "info", "warn", "error"}}
	}},
	{key: "log.format", def: "auto", flag: "log-format", field: func(c *Config) value {
		return choiceValue{&c.Log.Format, []string{"auto", "text", "json"}}
	}},
}

// findSetting returns the setting of a key, or nil.
func findSetting(key string) *setting {
	for _, s := range settings {
		if s.key == key {
			return s
		}
	}
	return nil
}

// isSection reports whether key has keys below it.
func isSection(key string) bool {
	for _, s := range settings {
		if strings.HasPrefix(s.key, key+".") {
			return true
		}
	}
	return false
}
