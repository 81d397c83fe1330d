package pipeline_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// pauses collects how long the pipeline says it waits between runs.
type pauses struct {
	slog.Handler
	mu  sync.Mutex
	all []time.Duration
}

func (p *pauses) Handle(ctx context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "pause" {
			p.mu.Lock()
			p.all = append(p.all, a.Value.Duration())
			p.mu.Unlock()
		}
		return true
	})
	return p.Handler.Handle(ctx, r)
}

func (p *pauses) seen() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]time.Duration(nil), p.all...)
}

// TestPauseAfterProgress: interruptions between which events were published are
// not answered with growing pauses. Torture, seed 3: after four of them in two
// minutes the daemon stayed away for up to 10 s from servers that were well.
func TestPauseAfterProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	p := &pauses{Handler: w.cfg.Logger.Handler()}
	w.cfg.Logger = slog.New(p)
	w.start()
	for i := range 4 {
		w.write(1+i*100, 100)
		w.caughtUp()
		w.db.Exec(t, `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = $1 and active`, w.cfg.Slot)
	}
	w.write(401, 100)
	w.complete("order")
	seen := p.seen()
	if len(seen) < 4 {
		t.Errorf("%d pauses, want 4: nothing was interrupted", len(seen))
	}
	for _, pause := range seen {
		if pause > 400*time.Millisecond {
			t.Errorf("pauses %v: they grow although events were published in between", seen)
			break
		}
	}
}
