// Package bench measures Runnel beside the limits of its servers, on one machine, in one
// run, with the same rows: so that figures are ratios.
//
//	rig      servers (devstack), started for the run
//	source   a database with an outbox, and rows in it (rows.go)
//	daemon   `runnel run`, as a user runs it: what it publishes, its CPU, its memory
//	limit    pg_recvlogical of the same WAL: how fast Postgres decodes
//	drain    a backlog, drained by each in turn
//	truth    what the topics hold: a run that lost or doubled an event is void
//
// Start with Run in bench.go. After `make build`, `go run ./internal/bench/cmd/bench` runs it.
// So far it measures the drain of a backlog alone.
package bench
