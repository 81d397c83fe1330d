// Package capture reads committed outbox rows from Postgres by logical
// replication, in commit order, and tells Postgres what has been published.
//
//	runnel.outbox ──WAL──▶ slot ──pgoutput──▶ Source.Run ──▶ chan *router.Batch
//	     ▲                   ▲                   │
//	     └── rows from before the slot ──────────┤ (once, from its snapshot)
//	                         └──── status ───────┘ ◀── Source.Confirm(lsn)
//
// Open checks the server and makes the pipeline's slot, or refuses to: a slot
// that was recorded is never dropped nor made again, because what lies between
// the two would be a gap that nobody sees. Run streams. Confirm says what is
// durable elsewhere. Audit checks that what the outbox holds did show up in
// the stream. Progress keeps, in the source database, how far it got.
//
// It publishes nothing, knows no topic, and never decides what is confirmed:
// that is router's. It does not create the outbox: that is outbox's.
//
// It speaks protocol version 1 without streaming, so that a transaction
// arrives whole, after its commit, row by row, and memory stays bounded.
//
// Start with Source, then run.go (the loop), wire.go (framing), pace.go (when
// to read), decode.go (pgoutput), slot.go (the slot's life) and lost.go (its
// death), snapshot.go and bootstrap.go (rows from before it), publication.go,
// audit.go (and marks.go), progress.go.
package capture
