// Package walwatch tells how much WAL the server keeps for a slot, how near that
// is to its end, what holds it back, and what to do: before the slot is lost, or
// the disk full.
//
//	pg_replication_slots, settings ───────┐
//	pg_stat_activity, pg_prepared_xacts ──┴─Read─▶ State ─┬─▶ Warnings   what is about to go wrong
//	                                                      └─▶ Hazards    what will, the day the daemon is down
//
// The daemon reads it each second, for its metrics, log and status; doctor and
// `runnel status` when a person asks. Every number is the server's own, so that
// they say the same. It changes nothing.
//
// Start with State, then judge.go, which has the thresholds and why.
package walwatch
