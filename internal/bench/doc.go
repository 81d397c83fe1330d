// Package bench measures Runnel beside the limits of its servers, on one machine, in one
// run, with the same rows: so that figures are ratios. docs/performance.md says what is
// measured, how, and what came of it.
//
//	rig       servers (devstack), started for the run
//	source    a database with an outbox, and rows in it (rows.go)
//	daemon    `runnel run`, as a user runs it: what it publishes, its CPU, its memory
//	limit     pg_recvlogical of the same WAL: how fast Postgres decodes
//	peer      Debezium Server, with an outbox of its own (peer/setup fetches it)
//	client    Pulsar's client for Go alone (goclient)
//	truth     what the topics hold: a run that lost or doubled an event is void
//
//	drain     a backlog, drained by each in turn
//	latency   from COMMIT to a consumer, at several rates
//	start     from a crash to the next event
//	growth    cost by size of the backlog
//	large     one transaction of 5 GB
//
//	report    what was found; markdown.go writes it for people
//
// Start with Run in bench.go. `make bench`, bench-long and bench-peer run it.
package bench
