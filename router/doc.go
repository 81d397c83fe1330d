// Package router is the pure heart of Runnel: it decides what becomes of every
// captured event, and what may be confirmed to Postgres.
//
//	capture ──Batch──▶ State ──Ready.Sends──▶ producers
//	                     ▲                        │
//	                     └───Acquired, Acked──────┘
//	                     │
//	                     └──Confirmed──▶ slot
//
// It imports neither Postgres nor Pulsar and starts no goroutine: State is a
// machine fed with values, owned by one goroutine, so that every interleaving
// can be tested without a server. The order in which events leave it, the
// skipping of what a partition holds already, the search for holes and the
// contiguous confirmation are its invariants; they are written above the types
// that keep them.
//
// It does not encode Avro (package schemas does), nor talk to anything.
//
// Start with State in state.go, then window (confirmation), lane (one topic
// partition), Routes (event to topic), generations (of routes) and PartitionOf (key to
// partition).
package router
