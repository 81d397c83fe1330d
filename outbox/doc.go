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
//
// Start with Publish; then Init, and migrations/0001_tables.sql.
package outbox
