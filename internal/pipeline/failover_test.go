package pipeline_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// replicated is a world whose source database is replicated to a standby.
type replicated struct {
	*world
	servers *stacktest.Replicas
	mu      sync.Mutex
	address string // where the daemon connects to
}

func newReplicated(t *testing.T) *replicated {
	t.Helper()
	servers := stacktest.NewReplicas(t, pgtest.Value[int](t, pgtest.New(t), "select current_setting('server_version_num')::int")/10000)
	r := &replicated{world: newWorldOn(t, pgtest.NewOn(t, servers.Primary.PostgresURL)), servers: servers}
	r.cfg.Recheck = time.Second
	r.init()
	r.address = r.url
	r.cfg.Postgres = func() (string, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.address, nil
	}
	return r
}

// failedOver lets the daemon, and the test, use the standby.
func (r *replicated) failedOver() {
	r.servers.Promote()
	r.mu.Lock()
	r.address = r.servers.OnStandby(r.address)
	r.mu.Unlock()
	r.db = r.db.At(r.servers.OnStandby(r.db.URL()))
}

// TestFailover: the daemon goes on at a standby that took over, and nothing is lost or
// repeated.
func TestFailover(t *testing.T) {
	t.Parallel()
	r := newReplicated(t)
	p, _ := r.start()
	r.write(1, 300)
	r.complete("order")
	r.servers.AwaitSlot(r.cfg.Slot)
	r.write(301, 3000)
	r.servers.AwaitAll()
	r.failedOver()
	r.write(3301, 300)
	r.complete("order")
	if st := p.Status(); st.State != pipeline.Streaming {
		t.Errorf("%s %s", st.State, st.Message)
	}
	epochs := map[uint32]int{}
	for _, s := range r.stamps("order") {
		epochs[s.Epoch]++
	}
	if epochs[1] != 3300 || epochs[2] != 300 {
		t.Errorf("events by epoch: %v", epochs)
	}
}

// TestFailoverThatLost: events that were published, and that the new primary does not
// have, halt the daemon, which names them; the former primary goes on meanwhile.
func TestFailoverThatLost(t *testing.T) {
	t.Parallel()
	r := newReplicated(t)
	p, _ := r.start()
	r.write(1, 300)
	r.complete("order")
	r.servers.AwaitSlot(r.cfg.Slot)
	r.servers.AwaitAll()
	r.servers.Cut()
	r.write(301, 40)
	r.complete("order")
	r.failedOver()
	st := reaches(t, p, pipeline.Halted, "HISTORY_LOST")
	if !strings.Contains(st.Message, "40 events of ") || !strings.Contains(st.Message, "timeline 2 forked at ") {
		t.Error(st.Message)
	}
	if n := pgtest.Value[int](t, r.db, "select count(*)::int from runnel.epoch"); n != 1 {
		t.Errorf("%d epochs are recorded", n)
	}
}
