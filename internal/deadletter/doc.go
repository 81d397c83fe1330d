// Package deadletter is what a pipeline's dead-letter topic holds: the events that could
// not be published, those that wait behind them, and the releases that ended their
// waiting.
//
//	persistent://tenant/namespace/runnel-dead-<pipeline>, of one partition
//	parked event: at its row's position; payload and properties as in the outbox
//	release:      at its control record's position; payload: Release as JSON
//
// In the order of their positions they are a log, and what is parked is what it adds up
// to (Log). The topic keeps that, not the database: like every other it is written by one
// exclusive producer, with dense ordinals, and before the slot may pass the event.
//
// It connects to nothing. Start with Log, then Letter and Release.
package deadletter
