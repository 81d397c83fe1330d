package outbox

import "context"

// Names of the headers that default from the context.
const (
	HeaderTraceparent   = "traceparent"   // W3C Trace Context
	HeaderCorrelationID = "correlationid" // the business process an event belongs to
	HeaderCausationID   = "causationid"   // id of the message that caused the event
)

type contextKey struct{}

// contextHeaders is immutable; each With makes a new one.
type contextHeaders map[string]string

// WithTraceparent makes traceparent (W3C Trace Context, such as
// 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01) the default header of
// events published with the returned context. An empty one removes it.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	return withHeaders(ctx, HeaderTraceparent, traceparent)
}

// WithCorrelation makes the given ids default headers of events published with
// the returned context. A consumer that publishes in turn passes on the
// correlation id it got, and the id of the message it handles as causation id.
// An empty one removes it.
func WithCorrelation(ctx context.Context, correlationID, causationID string) context.Context {
	return withHeaders(ctx, HeaderCorrelationID, correlationID, HeaderCausationID, causationID)
}

func withHeaders(ctx context.Context, pairs ...string) context.Context {
	headers := contextHeaders{}
	for name, value := range headersOf(ctx) {
		headers[name] = value
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			delete(headers, pairs[i])
			continue
		}
		headers[pairs[i]] = pairs[i+1]
	}
	return context.WithValue(ctx, contextKey{}, headers)
}

func headersOf(ctx context.Context) contextHeaders {
	headers, _ := ctx.Value(contextKey{}).(contextHeaders)
	return headers
}
