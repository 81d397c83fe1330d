// Package memory is a broker in memory: the semantics of Pulsar that Runnel
// depends on, without a server, deterministic under testing/synctest.
//
//	Broker    the cluster: topics, schemas, faults on demand     broker.go, faults.go
//	Conn      one client's connection to it (a broker.Client)    conn.go
//	producer  exclusive right, batches, acknowledgements         producer.go
//	reader, consumer                                             reader.go, consumer.go
//	Admin     namespaces, topics, the schema registry over HTTP  admin.go, registry.go
//
// What it keeps: exclusive access and who holds it, settling of pending adds,
// the probe, batches as entries of ledgers, acknowledgements in order,
// failover subscriptions with cumulative acknowledgement by whole entries,
// schema versions, size limits. What it does not: time, retention,
// authentication, several brokers, deduplication (no producer resends).
//
// A Broker is itself a Client and an Admin, by a connection of its own:
//
//	b := memory.New()
//	b.EnsureNamespace(ctx, "public/shop", broker.NamespacePolicy{})
//	b.EnsureTopic(ctx, "persistent://public/shop/order", 4, nil)
//	p, tail, err := b.Acquire(ctx, request, nil)
package memory
