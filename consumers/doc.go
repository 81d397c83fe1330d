// Package consumers keeps a service's own copy of other services' data.
//
// A projection receives events from topics, hands each to a handler together
// with a database transaction, and commits the handler's rows and the
// projection's position as one. The broker is told afterwards.
//
//	topic partition ──▶ inbox ──▶ one transaction: gate, handlers, position ──▶ ack
//	                  (bounded)         │                      │
//	                                 schemas              Postgres of
//	                              (writer → reader)       the service
//
// Rules that keep a copy exact, whatever is killed and whenever:
//
//  1. A position is moved in the transaction that holds the rows of the events
//     up to it, and nowhere else.
//  2. The broker is acknowledged only after that transaction committed.
//  3. An event at or below the stored position is skipped. Nothing else
//     removes duplicates: no message ids, no event ids.
//  4. The position row of a partition is locked before it is read. Of two
//     instances that hold the same messages, one applies and one skips.
//  5. An event above the stored position must carry the next ordinal.
//     Where the subscription jumps or stays silent, the topic itself is read
//     from the stored position; what the topic lacks is a gap, which stops the
//     projection, unless a copy is built with Config.AllowMissing.
//  6. No transaction is open while the projection waits for messages, for the
//     schema registry or for the next try of a failed event.
//  7. A message that Runnel did not write stops the projection, unless
//     Config.Foreign lists it (foreign.go). It moves no position, so that rule 5
//     holds around it.
//
// A handler's error is retried, at first at once. An event that fails for longer
// is put aside: a row beside the copy, written in the transaction that moves the
// position past it, with the later events of its key behind it, while other keys go
// on. It is tried again after growing delays, then parked for a person, who retries
// or discards it (runnel dlq); those behind it follow in order. A handler may answer
// with Discard or RetryAfter instead. When everything fails, nothing is put aside
// and partitions wait.
//
// A version above the live one is built beside it, in a schema of its own and never
// beyond it, and takes its place in one transaction when both stand at the same
// positions (rebuild.go, swap.go). Replay gives some events to the handlers once more.
//
// Who has just written waits for it with WaitFor, in any process that reaches the
// copy's database: there a projection keeps its positions, what it reads and
// handles, and with Config.WaitWindow the ids of the events it passed.
//
// The package does not write to topics: package outbox does, also for a handler, in
// the transaction that it was given; see Message.Context for what such events say of
// their cause. Package consumertest tests projections.
//
// Start with Config, New, Handle and Projection.Run; then partition.go, which
// runs one partition, apply.go, which is the transaction, redrive.go, which tries
// parked events again, and waitfor.go with passed.go. Subscribe is the small loop
// for those who keep no copy.
package consumers
