package broker

import (
	"context"
	"errors"
	"strings"

	"github.com/apache/pulsar-client-go/pulsar"

	"github.com/runnel-cdc/runnel/internal/fault"
)

// serverErrors maps the names of the broker's errors, which the client passes
// on as text only ("server error: ProducerFenced: ..."), to faults. The order
// matters: a message may quote a second name.
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

// clientFault gives an error of the client library its code. Where no better
// one fits it is ErrLost: the connection, a timeout, a broker that moves.
func clientFault(err error, format string, args ...any) error {
	if err == nil || fault.Find(err) != nil || errors.Is(err, context.Canceled) {
		return err
	}
	return clientCode(err).Wrap(err, format, args...)
}

func clientCode(err error) *fault.Code {
	switch {
	case errors.Is(err, pulsar.ErrProducerFenced):
		return ErrNotOwner
	case errors.Is(err, pulsar.ErrProducerBlockedQuotaExceeded):
		return ErrQuota
	case errors.Is(err, pulsar.ErrTopicTerminated):
		return ErrTopicTerminated
	case errors.Is(err, pulsar.ErrTopicNotfound):
		return ErrTopicMissing
	case errors.Is(err, pulsar.ErrMessageTooLarge), errors.Is(err, pulsar.ErrMetaTooLarge),
		strings.Contains(err.Error(), "exceeds MaxMessageSize"):
		return ErrTooLarge
	case errors.Is(err, pulsar.ErrSchema):
		return ErrSchemaMissing
	}
	text := err.Error()
	for _, s := range serverErrors {
		if strings.Contains(text, s.name) {
			return s.code
		}
	}
	return ErrLost
}

// refusedFault is the fault of a SEND_ERROR.
func refusedFault(code, message string) error {
	err := errors.New("server error: " + code + ": " + message)
	return clientFault(err, "the broker refused a message")
}
