// Package pgfault holds the faults of a Postgres server that several packages
// can meet, so that one thing has one code and one remedy: a service's outbox,
// the daemon's capture (which offers them under names of its own), the commands.
//
// Start with the faults; TLS in connect.go.
package pgfault

import "github.com/runnel-cdc/runnel/internal/fault"

// MinVersion is the oldest supported server_version_num; a lower one is
// ErrTooOld. 15 brought min(xid8), and publications that a plain table owner can
// make.
const MinVersion = 150000

// The faults that outbox and capture share.
var (
	ErrTooOld = fault.Define("PG_TOO_OLD", fault.Environment,
		"The server is older than Postgres 15.",
		"Upgrade the server to Postgres 15 or newer.")
	ErrNoOutbox = fault.Define("PG_NO_OUTBOX", fault.Environment,
		"The schema runnel or one of its tables is missing, or is too old for this program.",
		"Run `runnel init` against this database.")
	ErrTLS = fault.Define("PG_TLS", fault.Environment,
		"The TLS connection to the source database failed.",
		"Check sslmode, sslrootcert, sslcert and sslkey in the address, and the server's certificate; no restart is needed.")
)
