package bench

import (
	"context"
	"errors"
	"fmt"
)

// Run measures.
func Run(ctx context.Context, o Options) (err error) {
	r, err := newRig(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close(ctx)) }()
	for _, enc := range []Encoding{Avro, JSON} {
		for _, per := range []int{10, 1, o.Rows} {
			c := DrainCase{Encoding: enc, PerTx: per, Rows: o.Rows}
			if !o.wants(c.name()) {
				continue
			}
			if err := r.drain(ctx, &c); err != nil {
				return err
			}
		}
	}
	for _, rate := range []int{100, 1000, 5000, 20000} {
		if !o.wants(fmt.Sprintf("latency_%d", rate)) {
			continue
		}
		l, err := r.latency(ctx, rate)
		if err != nil {
			return fmt.Errorf("latency at %d events/s: %w", rate, err)
		}
		r.Say("latency at %d/s (%.0f/s were written): p50 %s, p99 %s, p99.9 %s, max %s, %s CPU an event, of %d", rate, l.Got, l.P50, l.P99, l.P999, l.Max, l.CPU, l.Events)
	}
	return nil
}
