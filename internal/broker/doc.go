// Package broker is Runnel's only door to Apache Pulsar.
//
// It offers exactly what the promise "every event once, in order" needs, and hides
// what speaks Pulsar's protocol: package wire for producers, the client library for
// readers and consumers.
//
//	          Client (broker.go)
//	        ┌───────┴────────┐
//	  Dial -> *Pulsar      memory.New -> *memory.Broker
//	        │                │
//	        └── contract.Run ┘   one suite holds both to the same behaviour
//
//	Acquire   exclusive producer, settle, tail, read-back   acquire.go, settle.go, tail.go
//	Producer  ordered sends, each callback once             producer.go, batching.go, receipts.go, flight.go
//	Read      one partition, no subscription                reader.go
//	Subscribe durable failover subscription                 consumer.go
//	Admin     namespaces, topics, policies over REST        admin.go, namespace.go, topic.go, rest.go
//
// What it does not do: routing, schemas' contents (package schemas speaks to
// the registry over Admin.HTTP), retries of single messages. An error of a
// producer is final; the caller starts a new run, which acquires again and
// reads the tail.
//
// Start with broker.go, then acquire.go.
package broker
