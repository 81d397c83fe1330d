// Package config turns flags, environment, runnel.yaml and defaults into one
// Config, and says of each value where it came from.
//
//	flags ─────────┐
//	RUNNEL_* ──────┤ Load ──> Config (validated) ──> Entries (config show)
//	runnel.yaml ───┤            │
//	defaults ──────┘            └─> PostgresURL (reads the secret anew)
//
// The file is strict: an unknown key, a wrong type or a value out of bounds is
// a fault with path:line:col. All faults of a configuration are reported at
// once (errors.Join).
//
// The package connects to nothing; whether the servers agree is the doctor's
// affair. Start with Config in config.go, then the table in settings.go.
package config
