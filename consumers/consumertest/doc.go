// Package consumertest tests a projection: given events, when applied, then rows,
// published events and parked events.
//
//	h := consumertest.New(t, pool, fulfilment.Projection) // the service's own constructor
//	h.Given(outbox.Event{AggregateID: "o-1", Payload: events.OrderPlaced{...}})
//	h.Apply()
//	h.RequireRows("select id, status from orders", "o-1 | placed")
//
// What runs is the projection itself, with its transactions, positions, retries and
// parking, on a real Postgres. The broker and its schema registry are in memory, and
// time is a Clock's: nothing sleeps, and Apply returns when nothing is left to do.
//
//	Given ──▶ broker in memory ──▶ consumers.Projection ──▶ Postgres
//	                                      │                  tables, runnel.outbox,
//	                                   Clock                 parked events
//
// The database is a pool, on a database or schema that the test may fill; or a
// transaction, so that all is gone when the test rolls it back. Then a projection's
// transactions are savepoints, which is not quite the same: see New.
//
// A projection is exact whatever is killed and whenever, as long as its handlers
// leave no traces but through their transaction. Harness.Crash kills it where that
// shows, time and again.
//
// Start with New. Package outboxtest is the counterpart for those who publish.
package consumertest
