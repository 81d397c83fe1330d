package bench

import (
	"context"
	"errors"
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
	return nil
}
