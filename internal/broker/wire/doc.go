// Package wire speaks as much of Pulsar's binary protocol as a producer needs.
//
//	        Client (client.go)          one connection per broker, for all producers
//	  ┌────────────┼──────────────┐
//	lookup.go    conn.go       producer.go
//	which        greeting,     PRODUCER, SEND, receipts  ◀── Events: what the broker says
//	broker       keepalive        │
//	             reader ◀──┐   batch.go    messages, encoded as they come; buffer.go, compress.go
//	             writer ◀──┼──────┘
//	                       └─ fields.go, commands.go, answers.go: bytes
//
// It decides nothing: it does not reconnect, send again, wait for room or put
// batches together. Whoever uses it, internal/broker, is told at once when a
// producer has ended, and starts over.
//
// Rules of the protocol are cited as (proto) for PulsarApi.proto and as (spec)
// for https://pulsar.apache.org/docs/next/developing-binary-protocol/.
//
// What it does not do: consumers, transactions, chunks, encryption, compression,
// moving producers to another cluster.
//
// Start with Client in client.go, then Producer in producer.go.
package wire
