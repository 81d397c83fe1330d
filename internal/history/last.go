package history

import (
	"context"
	"errors"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// Last reads what a reader of a history topic still has, closes it, and returns the last
// record; nil when there is none. What other producers sent is passed over: the daemon
// judges it. ErrForeignMessage: a message of producer's is no record.
func Last(ctx context.Context, r broker.Reader, producer string) (last *Record, err error) {
	err = broker.ReadRest(ctx, r, func(m *broker.Incoming) error {
		if m.Producer != producer {
			return nil
		}
		last, err = FromMessage(m)
		return err
	})
	return last, err
}

// FromMessage reads the record that a message holds. ErrForeignMessage: it holds none;
// ErrNewer: a newer release has written it.
func FromMessage(m *broker.Incoming) (*Record, error) {
	record, err := Parse(m.Payload)
	if errors.Is(err, ErrNewer) {
		return nil, err
	}
	if err != nil {
		return nil, broker.ErrForeignMessage.Wrap(err, "sent by producer %q", m.Producer).At("%s", m.Name())
	}
	return &record, nil
}
