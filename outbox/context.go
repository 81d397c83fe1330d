package outbox

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/eventctx"
)

// Names of the headers that default from the context.
const (
	HeaderTraceparent   = eventctx.Traceparent   // W3C Trace Context
	HeaderCorrelationID = eventctx.CorrelationID // the business process an event belongs to
	HeaderCausationID   = eventctx.CausationID   // id of the message that caused the event
)

// WithTraceparent makes traceparent (W3C Trace Context, such as
// 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01) the default header of
// events published with the returned context. An empty one removes it.
func WithTraceparent(ctx context.Context, traceparent string) context.Context {
	return eventctx.With(ctx, HeaderTraceparent, traceparent)
}

// WithCorrelation makes the given ids default headers of events published with
// the returned context. A consumer that publishes in turn passes on the
// correlation id it got, and the id of the message it handles as causation id: the
// context of a handler of package consumers has both already. An empty one removes
// it.
func WithCorrelation(ctx context.Context, correlationID, causationID string) context.Context {
	return eventctx.With(ctx, HeaderCorrelationID, correlationID, HeaderCausationID, causationID)
}
