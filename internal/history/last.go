package history

import (
	"context"
	"errors"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

// Broker is what ReadLast needs of one; *broker.Pulsar is one.
type Broker interface {
	// ReadSince opens a reader of every message of a producer at or above a position, and
	// maybe of others.
	ReadSince(ctx context.Context, p broker.Partition, from position.Position, producer string) (broker.Reader, error)
}

// ReadLast reads the last record of a history topic; nil when it has none. Its errors are
// Last's, and those of opening a reader (broker.ErrTopicMissing).
func ReadLast(ctx context.Context, b Broker, p broker.Partition, producer string) (*Record, error) {
	r, err := b.ReadSince(ctx, p, position.Beyond, producer)
	if err != nil {
		return nil, err
	}
	return Last(ctx, r, producer)
}

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
