// Package orders is a service that owns orders: it writes its own tables, and
// an event for every change in the same transaction.
//
// Service shows the Go way in (outbox.Publish); Warehouse shows the way in for
// every language that speaks SQL (runnel.publish). Simulate keeps both busy.
//
// Start with Service.Place in service.go.
package orders
