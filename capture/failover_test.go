package capture

import (
	"slices"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
)

// serverMajor is the shared server's major version.
func serverMajor(t *testing.T) int {
	t.Helper()
	return pgtest.Value[int](t, pgtest.New(t), "select current_setting('server_version_num')::int") / 10000
}

// TestFailover: a promoted standby goes on where the primary was. What was committed
// before the fork keeps its epoch, also where it is streamed again.
func TestFailover(t *testing.T) {
	servers := stacktest.NewReplicas(t, serverMajor(t))
	r := newFixtureIn(t, pgtest.NewOn(t, servers.Primary.PostgresURL))
	s := r.open(t)
	first := follow(t, s)
	r.insert(t, 1, 100, "a")
	before := first.await(100)
	servers.AwaitSlot(r.config.Slot)
	first.mustStop()
	s.Close()
	r.insert(t, 101, 150, "a")
	servers.AwaitAll()
	servers.Promote()

	r.config.URL = servers.OnStandby(r.config.URL)
	s = r.open(t)
	eras := s.Unsettled()
	if len(eras) != 1 || eras[0].Timeline != 2 || eras[0].Epoch != 0 || len(s.Eras()) != 2 {
		t.Fatalf("eras %+v, not settled %+v", s.Eras(), eras)
	}
	if err := s.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "before Settle") {
		t.Errorf("Run: %v", err)
	}
	s.Close()
	s = r.open(t)
	standby := r.DB.At(servers.OnStandby(r.DB.URL()))
	standby.Exec(t, "insert into runnel.progress_partition (pipeline, topic, partition, position, ordinal) select name, 'order', 2, $1, 0 from runnel.pipeline", position.Position{}.String())
	tails := []PartitionTail{{Topic: "not recorded", Last: position.Stamp{Ordinal: 1}}, {Topic: "order", Partition: 2, Last: position.Stamp{Position: before[99].at, Ordinal: 30}}}
	if err := s.Settle(t.Context(), 4, tails); err != nil { // some topic has seen epoch 4
		t.Fatal(err)
	}
	if saved := pgtest.Value[string](t, standby, "select string_agg(concat_ws(' ', topic, partition, ordinal), ',') from runnel.progress_partition"); saved != "order 2 30" {
		t.Errorf("the saved tails are %s", saved)
	}
	// The limit of the former era is none: what is confirmed beyond the slot is recorded anew.
	if s.limit != s.flushed || s.rec.limit != s.flushed {
		t.Errorf("the limit is %x, the slot is at %x", s.limit, s.flushed)
	}
	if s.Epoch() != 5 || len(s.Unsettled()) != 0 {
		t.Fatalf("epoch %d, not settled %+v", s.Epoch(), s.Unsettled())
	}
	next := follow(t, s)
	conn := pgtest.Conn(t, servers.OnStandby(r.URL()))
	if _, err := conn.Exec(t.Context(), insertSQL, 151, 160, "a"); err != nil {
		t.Fatal(err)
	}
	next.await(60) // 50 of them from before the fork
	next.mustStop()
	begin := eras[0].Begin
	seen := make(map[string]row)
	for _, e := range slices.Concat(before, next.received()) {
		if was, ok := seen[e.payload]; ok && was.at != e.at {
			t.Errorf("%s was at %s and is at %s", e.payload, was.at, e.at)
		}
		seen[e.payload] = e
		if want := map[bool]uint32{true: 1, false: 5}[e.at.LSN < begin]; e.at.Epoch != want {
			t.Errorf("%s at %s, want epoch %d", e.payload, e.at, want)
		}
	}
	if len(seen) != 160 || seen[`{"n": 150}`].at.Epoch != 1 || seen[`{"n": 151}`].at.Epoch != 5 {
		t.Errorf("%d events; the last before the fork at %s, the first after it at %s", len(seen), seen[`{"n": 150}`].at, seen[`{"n": 151}`].at)
	}

	// The next start knows all of it; and the former primary is refused nothing yet: its
	// own record is its own history's. What the topics hold tells (EPOCH_AHEAD).
	s.Close()
	s = r.open(t)
	if len(s.Unsettled()) != 0 || s.Epoch() != 5 {
		t.Errorf("opened again: epoch %d, not settled %+v", s.Epoch(), s.Unsettled())
	}
}

func TestLineage(t *testing.T) {
	l := lineage{{Epoch: 1, Begin: 100}, {Epoch: 4, Begin: 200}, {Epoch: 5, Begin: 300}}
	for lsn, want := range map[uint64]uint32{0: 1, 99: 1, 100: 1, 199: 1, 200: 4, 299: 4, 300: 5, 1 << 60: 5} {
		if got := l.at(lsn); got != want {
			t.Errorf("%d is of epoch %d, want %d", lsn, got, want)
		}
	}
}

func TestParseTimelineHistory(t *testing.T) {
	got, err := parseTimelineHistory([]byte("# a comment\n1\t0/3000158\tno recovery target specified\n\n2\t1/40\tbefore 2026-11-22\n"))
	if want := []parent{{1, 0x3000158}, {2, 1<<32 + 0x40}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"1", "x\t0/1\t", "1\t0\t", "0\t0/1\t", "2\t0/1\t\n1\t0/2\t", "1\t0/5\t\n2\t0/4\t", "1\t0/1\t\n1\t0/2\t"} {
		if _, err := parseTimelineHistory([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzTimelineHistory(f *testing.F) {
	f.Add([]byte("1\t0/3000158\tno recovery target specified\n2\t1/40\t\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		all, err := parseTimelineHistory(content)
		if err != nil {
			return
		}
		if !slices.IsSortedFunc(all, func(a, b parent) int { return int(a.timeline - b.timeline) }) {
			t.Errorf("%v", all)
		}
	})
}
