package deploy

import _ "embed"

// PulsarStandalone is the configuration file of the local Pulsar, in Java's
// properties format. Ports are appended: of two equal keys the last one wins.
//
//go:embed pulsar/standalone.conf
var PulsarStandalone string

// PostgreSQL is the configuration file of the local Postgres. It fits every
// version that Runnel supports (15 and newer).
//
//go:embed postgres/postgresql.conf
var PostgreSQL string

// Unit is the systemd unit of the daemon.
//
//go:embed runnel.service
var Unit string
