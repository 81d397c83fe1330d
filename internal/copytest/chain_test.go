package copytest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// Steps are taken in A; B keeps a copy and publishes each of them in its turn, so does
// C, and D keeps the last copy. Three daemons and three projections are killed at
// random. Every step is in every copy and every outbox once, in order, and names what
// caused it.
func TestChainOfThree(t *testing.T) {
	beside(t)
	kills := of(8, 100)
	first := newSource(t, "schemas")
	sources, copies := []*source{first}, []*copied{}
	all := []*process{first.daemon()}
	for i := range 3 {
		c := newCopy(t, sources[i])
		copies = append(copies, c)
		publishes := i < 2
		if publishes {
			next := sourceIn(t, c.db, "schemas")
			sources = append(sources, next)
			all = append(all, next.daemon())
		}
		all = append(all, c.projection(func(s *settings) { s.Publishes = publishes }))
	}
	last := copies[2]
	walking := newWalkers(t, first, 2)
	stop := walking.walk(5, 20*time.Millisecond)
	began := time.Now()
	last.awaits(1, 1, all...)
	random := rand.New(rand.NewPCG(2, 2))
	killed := make(map[string]int)
	for range kills {
		victim := all[random.IntN(len(all))]
		victim.restart()
		killed[victim.s.Role]++
		// Steps get to the end of the chain all the time.
		last.awaits(1, last.passed(1)+1+random.IntN(100), all...)
	}
	stop()
	total := first.committed()
	for _, c := range copies {
		c.awaits(1, total, all...)
	}
	for i, c := range copies {
		c.requireWalks(walking.all())
		if n := sources[min(i+1, 2)].committed(); n != total {
			t.Errorf("service %d has published %d events of %d", i+1, n, total)
		}
	}
	for i := 1; i < len(sources); i++ {
		requireCaused(t, sources[i-1].db, sources[i].db)
	}
	t.Logf("%d steps through three services in %s, killed: %v", total, time.Since(began).Round(time.Second), killed)
}

// requireCaused requires that each event of one database has caused one of another.
func requireCaused(t *testing.T, causes, effects *pgtest.DB) {
	t.Helper()
	want := pgtest.Values[string](t, causes, "select aggregate_id || ' ' || id from runnel.outbox order by 1")
	got := pgtest.Values[string](t, effects, "select aggregate_id || ' ' || coalesce(headers->>'causationid', '') from runnel.outbox order by 1")
	if !slices.Equal(got, want) {
		t.Errorf("%d events have caused %d; the first difference: %s", len(want), len(got), firstDifference(got, want))
	}
	if n := pgtest.Value[int](t, effects, "select count(*)::int from runnel.outbox where headers->>'correlationid' is null"); n != 0 {
		t.Errorf("%d events do not say to what they belong", n)
	}
}

func firstDifference(a, b []string) string {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("%s, want %s", a[i], b[i])
		}
	}
	return "one is longer"
}
