package history

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// Last reads what a reader of a history topic still has, closes it, and returns the last
// record; nil when there is none. ErrForeignMessage: a message is no record.
func Last(ctx context.Context, r broker.Reader) (last *Record, err error) {
	err = broker.ReadRest(ctx, r, func(m *broker.Incoming) error {
		last, err = FromMessage(m)
		return err
	})
	return last, err
}

// FromMessage reads the record that a message holds.
func FromMessage(m *broker.Incoming) (*Record, error) {
	record, err := Parse(m.Payload)
	if err != nil {
		return nil, broker.ErrForeignMessage.Wrap(err, "sent by producer %q", m.Producer).At("%s", m.Name())
	}
	return &record, nil
}
