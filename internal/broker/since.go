package broker

import (
	"context"
	"errors"

	"github.com/runnel-cdc/runnel/internal/position"
)

// ReadSince opens a reader that returns every message of a producer ("": of any) at or
// above a position, and may return others, and some below it. It is for looking things up;
// the partition may be written to meanwhile.
func (p *Pulsar) ReadSince(ctx context.Context, q Partition, from position.Position, producer string) (Reader, error) {
	s, err := p.internalStats(ctx, q)
	if err != nil {
		return nil, err
	}
	at, found := s.tail()
	if !found {
		return p.Read(ctx, q, Start{})
	}
	start, err := p.stepBack(ctx, q, s, at, from, producer)
	if err != nil {
		return nil, err
	}
	return p.Read(ctx, q, fromEntry(start))
}

// SkipRest is what a function given to ReadRest returns to end the reading without an error.
var SkipRest = errors.New("the rest is skipped") //nolint:staticcheck // as fs.SkipAll: no error

// ReadRest hands take each message that a reader still has, without waiting for more, and
// closes the reader. It ends with the first error.
func ReadRest(ctx context.Context, r Reader, take func(*Incoming) error) error {
	defer r.Close()
	for {
		more, err := r.HasNext(ctx)
		if err != nil || !more {
			return err
		}
		m, err := r.Next(ctx)
		if err == nil {
			err = take(m)
		}
		if errors.Is(err, SkipRest) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
