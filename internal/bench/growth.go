package bench

import (
	"context"
	"fmt"
)

// Growth is the cost of an event in a backlog of a size.
type Growth struct {
	Rows  int
	Drain Drain
}

// growth drains a backlog of so many rows, ten in a transaction.
func (r *rig) growth(ctx context.Context, rows int) (g Growth, err error) {
	name := fmt.Sprintf("growth_%d", rows)
	s, err := r.newSource(ctx, name)
	if err != nil {
		return g, err
	}
	if err := r.prepare(ctx, s, name); err != nil {
		return g, err
	}
	if err := s.fill(ctx, Avro, payloadBytes, rows, 10); err != nil {
		return g, fmt.Errorf("fill: %w", err)
	}
	g.Rows, g.Drain.System = rows, systemRunnel
	return g, r.drainRunnel(ctx, s, name, rows, &g.Drain)
}
