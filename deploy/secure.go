package deploy

import _ "embed"

// PulsarSecure is what a Pulsar needs for TLS, tokens and roles, in Java's
// properties format. Ports and paths are appended.
//
//go:embed pulsar/secure.conf
var PulsarSecure string

// PostgreSQLSecure is what a Postgres needs for TLS.
//
//go:embed postgres/secure.conf
var PostgreSQLSecure string

// PostgreSQLAccess is a pg_hba.conf that lets nobody in without TLS.
//
//go:embed postgres/pg_hba.conf
var PostgreSQLAccess string
