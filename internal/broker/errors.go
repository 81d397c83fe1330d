package broker

import (
	"context"
	"errors"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/runnel-cdc/runnel/internal/broker/wire"
	"github.com/runnel-cdc/runnel/internal/fault"
)

// serverErrors maps the names of the broker's errors to faults. For readers the
// client library passes them on as text only ("server error: AuthorizationError:
// ..."). The order matters there: a message may quote a second name.
var serverErrors = []struct {
	name string
	code *fault.Code
}{
	{"ProducerFenced", ErrNotOwner},
	{"ProducerBusy", ErrNotOwner},
	{"ProducerBlockedQuotaExceeded", ErrQuota},
	{"TopicTerminated", ErrTopicTerminated},
	{"TopicNotFound", ErrTopicMissing},
	{"topic not found", ErrTopicMissing},
	{"IncompatibleSchema", ErrSchemaMissing},
	{"AuthenticationError", ErrUnauthorized},
	{"AuthorizationError", ErrForbidden},
	{"Exceed maximum message size", ErrTooLarge},
	{"ServiceNotReady", ErrNotReady},
	{"PersistenceError", ErrNotReady},
	{"MetadataError", ErrNotReady},
	{"TooManyRequests", ErrNotReady},
}

// clientFault gives an error of the wire or the client library its code. Where no
// better one fits it is ErrLost: the connection, a timeout, a broker that moves.
func clientFault(err error, format string, args ...any) error {
	if err == nil || fault.Find(err) != nil || errors.Is(err, context.Canceled) {
		return err
	}
	var connecting *wire.ConnectError
	if errors.As(err, &connecting) {
		if secure := tlsFault(err, "pulsar.url", format, args...); secure != nil {
			return secure
		}
	}
	return clientCode(err).Wrap(err, format, args...)
}

func clientCode(err error) *fault.Code {
	var refusal *wire.ServerError
	text := err.Error()
	switch {
	case errors.As(err, &refusal) && refusal.Code != wire.NotAllowed: // which says what only in its message
		text = refusal.Code.String()
	case errors.Is(err, pulsar.ErrTopicNotfound):
		return ErrTopicMissing
	}
	for _, s := range serverErrors {
		if strings.Contains(text, s.name) {
			return s.code
		}
	}
	return ErrLost
}

// endFault is the fault of a producer's link that has ended.
func endFault(cause error, q Partition) error {
	var refusal *wire.ServerError
	switch {
	case errors.Is(cause, wire.ErrClosed):
		return errClosed()
	case errors.As(cause, &refusal):
		return clientFault(refusal, "%s: the broker refused a message", q)
	}
	return ErrLost.Wrap(cause, "%s: the broker closed the producer or the connection", q)
}
