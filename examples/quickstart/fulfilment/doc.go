// Package fulfilment is a service with a database of its own, in which it keeps
// a copy of the orders, made from the topic alone.
//
// Start with Projection in projection.go.
package fulfilment
