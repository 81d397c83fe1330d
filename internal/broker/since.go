package broker

import (
	"context"

	"github.com/runnel-cdc/runnel/internal/position"
)

// ReadSince opens a reader that returns every message at or above a position,
// and may return some below it first. It is for looking things up; the
// partition may be written to meanwhile.
func (p *Pulsar) ReadSince(ctx context.Context, q Partition, from position.Position) (Reader, error) {
	s, err := p.internalStats(ctx, q)
	if err != nil {
		return nil, err
	}
	at, found := s.tail()
	if !found {
		return p.Read(ctx, q, Start{})
	}
	start, err := p.stepBack(ctx, q, s, at, from)
	if err != nil {
		return nil, err
	}
	return p.Read(ctx, q, fromEntry(start))
}
