// Package eventctx carries the default headers of events in a context. Package
// outbox reads and sets them; package consumers, which does not import outbox, sets
// them for a handler, so that what it publishes names what it was caused by.
package eventctx

import "context"

// Names of the headers.
const (
	Traceparent   = "traceparent"
	CorrelationID = "correlationid"
	CausationID   = "causationid"
)

type key struct{}

// Headers returns the default headers of events published with ctx. They are not
// to be changed.
func Headers(ctx context.Context) map[string]string {
	headers, _ := ctx.Value(key{}).(map[string]string)
	return headers
}

// With returns a context with further headers, given by name and value. An empty
// value removes the header.
func With(ctx context.Context, pairs ...string) context.Context {
	headers := make(map[string]string)
	for name, value := range Headers(ctx) {
		headers[name] = value
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			delete(headers, pairs[i])
			continue
		}
		headers[pairs[i]] = pairs[i+1]
	}
	return context.WithValue(ctx, key{}, headers)
}
