// Package outbox is how a service publishes domain events: it writes them into
// a table, runnel.outbox, in the transaction that changes its state, and a
// daemon publishes what has committed.
//
//	 service                                         daemon
//	    | Publish, PublishSQL    Init, Migrate          | Housekeeper, RegisterEventTypes
//	    | select runnel.publish()     |                 |
//	    v                             v                 v
//	+--------------------------- schema runnel ------------------------------+
//	| outbox: daily partitions + default      event_type: what is admitted   |
//	| control, pipeline, epoch, progress...: what the daemon knows           |
//	+------------------------------------------------------------------------+
//	    | publication runnel, through the root, inserts only
//	    v
//	 package capture
//
// A table that a service writes as it always did can be watched: a trigger then
// writes an event for every row that changes (`select runnel.watch(...)`, see
// docs/watched-tables.md). WatchedTables, TableSchemas and Explain are Go's side
// of it; the rest is SQL, migrations 0005 to 0011.
//
// The package owns the schema: its migrations (migrations/*.sql), its roles and
// what each may do (grants.go), and its retention. It does not read the outbox
// and knows nothing of Pulsar.
//
// What the schema keeps, whoever writes:
//
//  1. A row never changes: UPDATE, DELETE and TRUNCATE are refused; rows go with
//     their partition.
//  2. A partition goes only when it is older than the retention and each of its
//     rows is confirmed by every pipeline.
//  3. An INSERT never lacks a partition, so a stopped daemon stops nobody.
//  4. A row is never moved: a move would be an INSERT, published again.
//  5. Once event types are registered, no other type gets in.
//  6. A watched table's events, in commit order, give the table; what an event
//     cannot hold is refused in the writer's transaction.
//
// Package outboxtest is for the tests of services that publish.
//
// Start with Publish; then Init, and migrations/0001_tables.sql; for watched tables
// migrations/0007_watch.sql.
package outbox
