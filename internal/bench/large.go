package bench

import (
	"context"
	"fmt"
)

// Large is one transaction that does not fit the daemon's memory, nor the one that Postgres
// has for decoding.
type Large struct {
	Bytes int64 // of payload
	Rows  int
	Drain Drain
}

// largeRow is the size of a large transaction's rows, in bytes.
const largeRow = 8 << 10

// large drains a backlog of one transaction with so many bytes of payload.
func (r *rig) large(ctx context.Context, bytes int64) (l Large, err error) {
	const name = "large"
	l.Bytes, l.Rows, l.Drain.System = bytes, int(bytes/largeRow), systemRunnel
	s, err := r.newSource(ctx, name)
	if err != nil {
		return l, err
	}
	if err := r.prepare(ctx, s, name); err != nil {
		return l, err
	}
	if err := s.fill(ctx, Avro, largeRow, l.Rows, l.Rows); err != nil {
		return l, fmt.Errorf("fill: %w", err)
	}
	return l, r.drainRunnel(ctx, s, name, l.Rows, &l.Drain)
}
