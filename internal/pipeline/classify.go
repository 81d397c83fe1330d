package pipeline

import (
	"errors"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/router"
	"github.com/runnel-cdc/runnel/schemas"
)

// passing are the faults that pass by themselves: the next run may well go
// better. capture knows its own (capture.Halts).
var passing = []*fault.Code{
	broker.ErrUnreachable, broker.ErrLost, broker.ErrUnauthorized, broker.ErrAdmin, broker.ErrNotSettled,
	broker.ErrNotReady, broker.ErrNotOwner, broker.ErrQuota, broker.ErrAckOrder, broker.ErrStopped, broker.ErrUnreadable,
	broker.ErrTooLarge, // the next run knows the limit, and halts at the event's position
	router.ErrAckOrder, router.ErrProtocol,
	schemas.ErrRegistryUnreachable,
	ErrStalled, ErrLaneLost,
}

// halts reports whether err needs a person. Errors without a code are those of
// networks and servers: they are retried.
func halts(err error) bool {
	f := fault.Find(err)
	if f == nil {
		return false
	}
	for _, code := range capture.Faults {
		if f.Code == code {
			return capture.Halts(err)
		}
	}
	for _, code := range passing {
		if f.Code == code {
			return false
		}
	}
	return true
}

// waits reports whether err says that another daemon is at work: this one
// stands by.
func waits(err error) bool {
	return errors.Is(err, capture.ErrSlotBusy) || errors.Is(err, broker.ErrNotOwner)
}

func isTopicMissing(err error) bool { return errors.Is(err, broker.ErrTopicMissing) }
