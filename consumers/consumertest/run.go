package consumertest

import (
	"context"
	"time"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
)

// crashLimit is how many crashes without an acknowledgement in between are taken for
// a mistake of the test's CrashWhen.
const crashLimit = 100

// run is one life of the projection, under Harness.mu.
type run struct {
	cancel context.CancelFunc
	died   bool
	idle   map[broker.Partition]bool // partitions that have nothing to do
	asleep int                       // goroutines that wait for the clock
	short  time.Duration             // pauses that passed at once
	quiet  chan struct{}             // closed when nothing goes on without the clock or the test
	ended  bool                      // quiet is closed
}

// Apply runs the projection until every event given was applied, parked, discarded
// or passed over, and what was due by the clock was tried. It fails the test when
// the projection stops, or waits for something that does not come: a database, or,
// when more than ten events in a row fail, one that does not. When nothing moves for
// a minute, by the machine's clock, it fails as well, and says what is waited for: a
// lock, or a handler.
func (h *Harness) Apply() {
	h.t.Helper()
	h.applied = true
	for crashes := 0; ; crashes++ {
		before := h.count()
		r, err := h.live()
		if err != nil {
			h.fatal("projection "+h.about.Name+" stopped", err)
		}
		if !r.died {
			h.requireQuiet(r)
			break
		}
		if h.count() > before {
			crashes = 0
		}
		if crashes == crashLimit && h.dying != nil {
			h.t.Fatalf("projection %s crashed %d times without getting anywhere: CrashWhen must let it live now and then", h.about.Name, crashes)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unseen = h.parked()
}

// endLimit bounds how long a projection that is given up is waited for.
const endLimit = 5 * time.Second

// live runs the projection until it is quiet, stops or dies.
func (h *Harness) live() (*run, error) {
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	r := &run{cancel: cancel, idle: make(map[broker.Partition]bool), quiet: make(chan struct{})}
	h.mu.Lock()
	h.run = r
	h.mu.Unlock()
	done := make(chan error, 1)
	go func() { done <- h.projection.Run(ctx) }()
	dog := h.newWatchdog()
	defer dog.tick.Stop()
	quiet := r.quiet
	for {
		select {
		case err := <-done:
			return r, err
		case <-quiet:
			cancel()
			quiet = nil
		case <-dog.tick.C:
			if why := dog.look(h); why != "" {
				cancel()
				// It uses the database still, and the test's cleanups close that.
				select {
				case err := <-done:
					h.t.Logf("projection %s was given up, and ended with: %v", h.about.Name, err)
				case <-time.After(endLimit):
				}
				h.t.Fatalf("projection %s is stuck: %s", h.about.Name, why)
			}
		}
	}
}

// requireQuiet requires that the projection had nothing left to do.
func (h *Harness) requireQuiet(r *run) {
	h.t.Helper()
	if len(r.idle) == len(h.about.Topics)*h.partitions {
		return
	}
	for _, s := range h.projection.Status() {
		if s.Err != nil && s.Tries > 0 {
			h.t.Fatalf("partition %d of %s waits, because one event after the other fails: then none is parked\n→ Mend the handler, or what it needs; the last one failed for: %v", s.Partition, s.Topic, s.Err)
		}
		if s.Err != nil {
			h.fatal("projection "+h.about.Name+" waits", s.Err)
		}
	}
	h.t.Fatalf("projection %s waits for its database: see the test's log", h.about.Name)
}

// count returns how many messages were acknowledged.
func (h *Harness) count() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.seen {
		n += c
	}
	return n
}

// acknowledged notes what the broker was told.
func (h *Harness) acknowledged(of broker.Partition, id broker.MessageID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moving()
	h.seen[of] = max(h.seen[of], int(id.Entry)+1)
}

// waiting is called by a partition that has worked off what it received: it is done
// when that was everything, and nothing else is due.
func (h *Harness) waiting(of broker.Partition, d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moving()
	if d > 0 && h.seen[of] == len(h.topics[of.Topic].times[of.Index]) {
		h.run.idle[of] = true
		h.look()
	}
}

// shortPauses bounds the pauses of a life that pass at once: those after a race that
// was lost against another transaction. What waits for longer waits for the clock.
const shortPauses = time.Second

// sleep stands in for sleeping.
func (h *Harness) sleep(ctx context.Context, d time.Duration) error {
	h.mu.Lock()
	h.moving()
	r := h.run
	if r.short += d; r.short <= shortPauses {
		h.mu.Unlock()
		return ctx.Err()
	}
	r.asleep++
	h.look()
	h.mu.Unlock()
	<-ctx.Done()
	return ctx.Err()
}

// look ends a life in which nobody moves: all partitions wait, or nobody has come as
// far as a partition. h.mu is held.
func (h *Harness) look() {
	r := h.run
	all := len(h.about.Topics) * h.partitions
	if !r.ended && (len(r.idle)+r.asleep >= all || r.asleep > 0 && len(h.projection.Status()) == 0) {
		r.ended = true
		close(r.quiet)
	}
}

// observe adds what the harness wants to know to what the service's own observer is
// told.
func (h *Harness) observe(observer any) {
	o := observer.(*consumers.Observer)
	told := o.Discarded
	o.Discarded = func(m consumers.Message, err error) {
		h.mu.Lock()
		h.discards = append(h.discards, Discarded{m, err})
		h.unseenDiscards = true
		h.mu.Unlock()
		if told != nil {
			told(m, err)
		}
	}
}
