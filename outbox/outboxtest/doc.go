// Package outboxtest helps to test services that publish events with package
// outbox: what did this transaction, or this call, publish?
//
//	conn := ...                                           // to a test's own database
//	outboxtest.Migrate(t, conn, events.OrderPlaced{})     // once per database
//
//	err := placeOrder(ctx, tx, "o-1")                     // the code under test
//	outboxtest.RequirePublished(t, tx,                    // read before commit or rollback
//		outbox.Event{AggregateID: "o-1", Payload: events.OrderPlaced{OrderID: "o-1"}})
//
// Code that commits by itself is tested with Since. No daemon and no broker are
// needed: what is in the outbox when its transaction commits will be in the topic.
//
// Start with RequirePublished. Its counterpart for those who consume is package
// consumertest.
package outboxtest
