package broker

import (
	"context"
	"time"
)

// stateTerminated is ledgerStats.State of a topic that accepts no more.
const stateTerminated = "Terminated"

// settle waits until what earlier owners sent is stored or lost: two readings
// without pending adds and with the same last entry. An add is queued before
// it is counted, so this proves little alone; the probe proves the rest. And the
// last ledger holds no more than is known: see abandoned.
func (p *Pulsar) settle(ctx context.Context, q Partition) (ledgerStats, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.OperationTimeout)
	defer cancel()
	began := time.Now()
	before, err := p.internalStats(ctx, q)
	for pause := time.Millisecond; err == nil; pause = min(2*pause, 100*time.Millisecond) {
		var now ledgerStats
		if now, err = p.internalStats(ctx, q); err != nil {
			break
		}
		if now.State == stateTerminated {
			return now, ErrTopicTerminated.New("%s", q)
		}
		if before.Pending == 0 && now.Pending == 0 && now.last == before.last && now.Added == before.Added {
			ledger, abandoned, err := p.abandoned(ctx, q, now)
			switch {
			case err != nil || !abandoned:
				return now, err
			case time.Since(began) > p.cfg.OperationTimeout/3: // it is not just being closed
				return now, p.giveBack(ctx, q, ledger)
			}
		}
		before = now
		if !sleep(ctx, pause) {
			return now, ErrNotSettled.New("%s: %d adds pending after %s, last entry %s", q, now.Pending, p.cfg.OperationTimeout, now.LastConfirmed)
		}
	}
	return ledgerStats{}, err
}

// probeCheck returns the check of the first message's place after the tail
// that was read under the settled stats.
func (p *Pulsar) probeCheck(q Partition, settled ledgerStats) func(context.Context, entryID) error {
	tail, any := settled.tail()
	return func(ctx context.Context, probe entryID) error {
		if any && probe.Ledger == tail.Ledger && probe.Entry == tail.Entry+1 {
			return nil
		}
		// A new ledger: what was stored between is known to fresh stats only.
		now, err := p.internalStats(ctx, q)
		if err != nil {
			return err
		}
		if !now.follows(tail, any, probe) {
			return ErrNotSettled.New("%s: the first message is at %s, which does not follow the tail %s", q, probe, describeTail(tail, any))
		}
		return nil
	}
}

func describeTail(tail entryID, any bool) string {
	if !any {
		return "(empty)"
	}
	return tail.String()
}

// sleep waits for d or until ctx ends; false in the latter case.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
