package consumers

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/eventctx"
)

// Context returns ctx with what events published with it (outbox.Publish) get as
// default headers when m caused them: causationid is m's id, correlationid is m's
// own or, at the beginning of a chain, m's id; traceparent is m's own. A handler of
// Handle and of Subscribe gets such a context; one of HandleBatch, whose messages
// may belong to several chains, makes it for each.
func (m Message) Context(ctx context.Context) context.Context {
	correlation := m.Headers[eventctx.CorrelationID]
	if correlation == "" {
		correlation = m.ID.String()
	}
	return eventctx.With(ctx,
		eventctx.CorrelationID, correlation,
		eventctx.CausationID, m.ID.String(),
		eventctx.Traceparent, m.Headers[eventctx.Traceparent])
}
