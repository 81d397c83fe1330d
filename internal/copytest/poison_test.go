package copytest

import (
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// One walk is refused until its step is parked and others wait behind it, while
// 1,000 steps a second go on; then it is cured and tried again under that load. The
// projection is killed in both. No step is out of turn, and none is left behind.
func TestPoisonedAggregate(t *testing.T) {
	beside(t)
	s := newSource(t, "schemas")
	daemon := s.daemon()
	c := newCopy(t, s)
	patient := func(s *settings) { s.Patient = *full }
	projection := c.projection(patient)
	walking := newWalkers(t, s, 2)
	stop := walking.walk(10, 20*time.Millisecond)
	c.awaits(1, 500, projection, daemon)

	poisoned := walkOf(0, 3, 7)
	began, from := time.Now(), c.passed(1)
	c.db.Exec(t, "insert into public.sick values ($1)", poisoned)
	filter := consumers.ParkedFilter{Key: poisoned}
	parked := func(condition string) int {
		t.Helper()
		return pgtest.Value[int](t, c.db, "select count(*)::int from runnel_projections.parked where key = $1 and "+condition, poisoned)
	}
	pgtest.Eventually(t, 2*patience, func() bool { return parked("state = 'parked'") == 1 }, "the step is parked")
	projection.restart()
	c.awaits(1, c.passed(1)+of(1000, 20_000), projection, daemon)
	pgtest.Eventually(t, patience, func() bool { return parked("state = 'behind'") >= 3 }, "steps wait behind it")
	others := pgtest.Value[int](t, c.db, "select count(*)::int from runnel_projections.parked where key <> $1", poisoned)
	if others != 0 {
		t.Errorf("%d steps of other walks are parked", others)
	}
	rate := float64(c.passed(1)-from) / time.Since(began).Seconds()
	behind := parked("true")

	c.db.Exec(t, "delete from public.sick")
	began = time.Now()
	if keys, err := consumers.RetryParked(t.Context(), c.pool, c.name, filter); err != nil || keys != 1 {
		t.Fatalf("%d keys to be tried again: %v", keys, err)
	}
	projection.restart()
	pgtest.Eventually(t, patience, func() bool { return parked("true") == 0 }, "the walk is applied again")
	redriven := time.Since(began)
	c.awaits(1, c.passed(1)+of(500, 5000), projection, daemon)
	stop()
	c.awaits(1, s.committed(), projection, daemon)
	pgtest.Eventually(t, patience, func() bool { return parked("true") == 0 }, "nothing is parked")
	c.requireWalks(walking.all())
	t.Logf("%d steps were parked while %.0f/s went on, and were applied %s after the retry, the projection killed meanwhile; %d steps in all",
		behind, rate, redriven.Round(time.Millisecond), s.committed())
}
