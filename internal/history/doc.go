// Package history is what a pipeline's history topic holds: the eras of the source
// database under which the pipeline publishes, so that what a failover has lost is known
// to whoever reads, and publishes, without a word of the database; and the generations of
// routes, so that a replay finds each event where it went.
//
//	persistent://tenant/namespace/runnel-history-<pipeline>, of one partition
//	position: where the newest era begins, rising; type: runnel.history; payload: Record as JSON
//
// Who publishes for the pipeline is the topic's exclusive producer all the while, and
// publishes an era here before the first event of it. So a daemon that is left behind on a
// former primary meets the later era before it can publish anything, whatever partitions
// nobody holds.
//
// It connects to nothing: readers are given. Start with Record.
package history
