package copytest

import (
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// A new version is built from the start of the topic while steps are taken and the
// live one follows them. It is killed a third and two thirds of the way, the live one
// in between. It takes the live one's place; then both equal what was committed, and
// every step has had its effect once.
func TestRebuildUnderLoad(t *testing.T) {
	beside(t)
	history := of(20_000, 1_000_000)
	s := newSource(t, "schemas")
	daemon := s.daemon()
	c := newCopy(t, s)
	live := c.projection(nil)
	walking := newWalkers(t, s, 2)
	walking.fill(history)
	c.awaits(1, history, live, daemon)

	stop := walking.walk(10, 20*time.Millisecond)
	began := time.Now()
	next := c.projection(func(s *settings) { s.Version = 2 })
	c.awaits(2, history/3, next, live, daemon)
	next.restart()
	live.restart()
	c.awaits(2, 2*history/3, next, live, daemon)
	next.restart()
	pgtest.Eventually(t, 10*time.Minute, func() bool {
		next.mustLive()
		v := c.version(2)
		return v != nil && v.State == "live"
	}, "version 2 is the live one")
	took := time.Since(began)
	atSwap := c.passed(2)
	select {
	case <-live.Done(): // with PROJECTION_VERSION
	case <-time.After(patience):
		t.Error("the instance of version 1 did not end")
	}
	c.awaits(2, atSwap+of(500, 5000), next, daemon)
	stop()
	total := s.committed()
	c.awaits(2, total, next, daemon)
	c.requireWalks(walking.all())
	if old := c.version(1); old == nil || old.State != "old" || int(old.Passed) > atSwap {
		t.Errorf("the old copy is %+v, and version 2 had passed %d events when it was live", old, atSwap)
	}
	if dropped, err := consumers.DropOldCopy(t.Context(), c.pool, c.name); err != nil || dropped != 1 {
		t.Errorf("version %d was dropped: %v", dropped, err)
	}
	t.Logf("%d events, rebuilt in %s (%.0f/s) with three kills, while %d more came; %d in all", atSwap, took.Round(time.Second),
		float64(atSwap)/took.Seconds(), total-history, total)
}
