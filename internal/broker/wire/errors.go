package wire

import (
	"errors"
	"fmt"
)

// Code is a ServerError of (proto).
type Code int

// The codes that callers tell apart.
const (
	MetadataError       Code = 1
	PersistenceError    Code = 2
	AuthenticationError Code = 3
	AuthorizationError  Code = 4
	ServiceNotReady     Code = 6
	QuotaExceededError  Code = 7 // the backlog quota holds producers up
	QuotaExceeded       Code = 8 // the backlog quota refuses producers
	TopicNotFound       Code = 11
	TooManyRequests     Code = 14
	TopicTerminated     Code = 15
	ProducerBusy        Code = 16
	IncompatibleSchema  Code = 18
	NotAllowed          Code = 22
	ProducerFenced      Code = 25
)

// codeNames are those of (proto), for errors that people read and search for.
var codeNames = [...]string{
	"UnknownError", "MetadataError", "PersistenceError", "AuthenticationError", "AuthorizationError",
	"ConsumerBusy", "ServiceNotReady", "ProducerBlockedQuotaExceededError", "ProducerBlockedQuotaExceededException",
	"ChecksumError", "UnsupportedVersionError", "TopicNotFound", "SubscriptionNotFound", "ConsumerNotFound",
	"TooManyRequests", "TopicTerminatedError", "ProducerBusy", "InvalidTopicName", "IncompatibleSchema",
	"ConsumerAssignError", "TransactionCoordinatorNotFound", "InvalidTxnStatus", "NotAllowedError",
	"TransactionConflict", "TransactionNotFound", "ProducerFenced",
}

func (c Code) String() string {
	if c >= 0 && int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("error %d", int(c))
}

// ServerError is what the broker answered instead of doing what it was asked.
type ServerError struct {
	Code    Code
	Message string // at most maxText bytes
}

func (e *ServerError) Error() string { return "server error: " + e.Code.String() + ": " + e.Message }

// What ends a producer or a request beside a ServerError.
var (
	// ErrClosed: this side has closed the Client or the Producer.
	ErrClosed = errors.New("closed")
	// ErrDisconnected: the connection is no more. The cause is wrapped beside it.
	ErrDisconnected = errors.New("the connection to the broker ended")
	// ErrProducerClosed: the broker has closed the producer, as it does when the
	// topic moves or its storage failed.
	ErrProducerClosed = errors.New("the broker closed the producer")
	// ErrTimeout: a request was not answered in time.
	ErrTimeout = errors.New("request timed out")
)
