package pipeline_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// replicated is a world whose source database is replicated to a standby.
type replicated struct {
	*world
	servers *stacktest.Replicas
}

func newReplicated(t *testing.T) *replicated {
	t.Helper()
	servers := stacktest.NewReplicas(t, pgtest.Value[int](t, pgtest.New(t), "select current_setting('server_version_num')::int")/10000)
	r := &replicated{world: newWorldOn(t, pgtest.NewOn(t, servers.Primary.PostgresURL)), servers: servers}
	r.cfg.Recheck = time.Second
	r.init()
	// Of both servers, the one that takes writes.
	u, err := url.Parse(r.url)
	if err != nil {
		t.Fatal(err)
	}
	other, err := url.Parse(servers.Standby.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host += "," + other.Host
	q := u.Query()
	q.Set("target_session_attrs", "read-write")
	u.RawQuery = q.Encode()
	r.cfg.Postgres = func() (string, error) { return u.String(), nil }
	return r
}

// failOver lets the standby take over. The daemon finds it.
func (r *replicated) failOver() {
	r.servers.Promote()
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

	// A standby that is gone keeps everything back, and is named.
	standby := pgtest.Value[string](t, r.db, "select current_setting('synchronized_standby_slots')")
	await := func(slots, want string) {
		t.Helper()
		r.db.Exec(t, "alter system set synchronized_standby_slots = '"+slots+"'")
		r.db.Exec(t, "select pg_reload_conf()")
		pgtest.Eventually(t, 30*time.Second, func() bool {
			codes := ""
			for _, x := range p.Status().Warnings {
				codes += x.Code
			}
			return codes == want
		}, "the warning "+want)
	}
	await("gone", "STANDBY_AWAITED")
	await(standby, "")
	r.write(301, 3000)
	r.servers.AwaitAll()
	r.failOver()
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
// have, halt the daemon, which names them. Given up, they stay where they are, and all else
// goes on behind them; the former primary is refused.
func TestFailoverThatLost(t *testing.T) {
	t.Parallel()
	r := newReplicated(t)
	p, stop := r.start()
	r.write(1, 300)
	r.complete("order")
	r.servers.AwaitSlot(r.cfg.Slot)
	r.servers.AwaitAll()
	r.servers.Cut()
	r.write(301, 40)
	r.complete("order")
	r.failOver()
	st := reaches(t, p, pipeline.Halted, "HISTORY_LOST")
	if !strings.Contains(st.Message, "40 events of ") || !strings.Contains(st.Message, "timeline 2 forked at ") {
		t.Error(st.Message)
	}
	if n := pgtest.Value[int](t, r.db, "select count(*)::int from runnel.epoch"); n != 1 {
		t.Errorf("%d epochs are recorded", n)
	}

	// Somebody gives them up: those, and no others.
	consumer, err := r.client.Subscribe(t.Context(), broker.Partition{Topic: wire.TopicName(r.cfg.Namespace, "order")}, "billing")
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	plan, err := pipeline.PlanRepair(t.Context(), r.cfg)
	if err != nil || plan.Slot != nil || plan.Fork == nil || plan.Fork.Lost != 40 || len(plan.Fork.Events) != 40 || plan.Fork.Timeline != 2 ||
		plan.Fork.Aggregates == 0 || !slices.Equal(plan.Fork.Readers, []string{"billing"}) {
		t.Fatalf("%+v, %v", plan, err)
	}
	if _, err := pipeline.Repair(t.Context(), r.cfg, "0123"); !errors.Is(err, pipeline.ErrRepairStale) {
		t.Error(err)
	}
	before := r.topic("order")
	r.write(341, 100)
	if _, err := pipeline.Repair(t.Context(), r.cfg, plan.Hash); err != nil {
		t.Fatal(err)
	}
	reaches(t, p, pipeline.Streaming, "")
	r.write(441, 100)
	r.caughtUp()
	after := r.topic("order") // positions rise, ordinals are dense
	have := pgtest.Values[string](t, r.db, "select id::text from runnel.outbox")
	lost := 0
	for id, n := range after {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
		if !slices.Contains(have, id) {
			if lost++; before[id] != 1 || !slices.ContainsFunc(plan.Fork.Events, func(e pipeline.LostEvent) bool { return e.ID == id }) {
				t.Errorf("%s is in the topic alone, and was not lost", id)
			}
		}
	}
	if lost != 40 || len(after) != len(have)+40 {
		t.Errorf("%d events in the topic, %d of them lost, %d in the database", len(after), lost, len(have))
	}
	if plan, err := pipeline.PlanRepair(t.Context(), r.cfg); err != nil || plan.Hash != "" {
		t.Errorf("again: %+v, %v", plan, err)
	}
	stop()

	// The former primary comes back, with what was lost, and a daemon of its own.
	r.servers.ReturnFormer()
	former := r.cfg
	former.Postgres = func() (string, error) { return r.url, nil }
	r.cfg = former
	p, _ = r.start()
	if st := reaches(t, p, pipeline.Halted, "EPOCH_AHEAD"); !strings.Contains(st.Message, "epoch 2 was published under") {
		t.Error(st.Message)
	}
}

// TestPipelineOfAnotherServer: a database that was made elsewhere does not publish under
// the name of a pipeline that another one has.
func TestPipelineOfAnotherServer(t *testing.T) {
	t.Parallel()
	first := newWorld(t)
	first.init()
	_, stop := first.start()
	first.caughtUp()
	pgtest.Eventually(t, 30*time.Second, func() bool {
		return pgtest.Value[string](t, first.db, "select coalesce(max(routes_hash), '') from runnel.pipeline") != ""
	}, "the first one is ready to publish")
	stop()
	other := newWorldOn(t, pgtest.NewOn(t, stacktest.Up(t, devstack.Options{Postgres: true}).PostgresURL))
	other.cfg.Name, other.cfg.Namespace, other.cfg.Recheck = first.cfg.Name, first.cfg.Namespace, time.Second
	other.init()
	p, _ := other.start()
	reaches(t, p, pipeline.Halted, "PIPELINE_OF_ANOTHER")
}

// TestEraSettledAndNotPublished: a daemon that settled an era died before the history topic
// had it, and the one that was left behind has published since. That is noticed, and named.
func TestEraSettledAndNotPublished(t *testing.T) {
	t.Parallel()
	w, _, stop := newPublished(t)
	fork := w.walEnd()
	w.write(101, 30)
	w.complete("order")
	stop()
	// What a promotion would have made of it, with the last events lost.
	w.db.Exec(t, `insert into runnel.epoch (epoch, system_id, timeline, begin_lsn) select 2, system_id, timeline, $1::text::pg_lsn from runnel.epoch`, fork)
	w.db.Exec(t, `update runnel.pipeline set settled_epoch = 2`)
	p, _ := w.start()
	if st := reaches(t, p, pipeline.Halted, "HISTORY_LOST"); !strings.Contains(st.Message, "30 events") {
		t.Error(st.Message)
	}
	plan, err := pipeline.PlanRepair(t.Context(), w.cfg)
	if err != nil || plan.Fork == nil || plan.Fork.Lost != 30 {
		t.Fatalf("%+v, %v", plan.Fork, err)
	}
	if _, err := pipeline.Repair(t.Context(), w.cfg, plan.Hash); err != nil {
		t.Fatal(err)
	}
	reaches(t, p, pipeline.Streaming, "")
	w.write(131, 20)
	w.caughtUp()
	if n := len(w.stamps("order")); n != 150 {
		t.Errorf("%d events, want 150", n)
	}
}

// TestFailoverWithoutSlot: the new primary lacks the slot, and events that were
// published. Both are in one plan, and after it what the new primary has is in the topics.
func TestFailoverWithoutSlot(t *testing.T) {
	t.Parallel()
	r := newReplicated(t)
	p, _ := r.start()
	r.write(1, 300)
	r.complete("order")
	r.servers.AwaitAll()
	r.servers.Cut()
	r.write(301, 40)
	r.complete("order")
	r.failOver()
	r.write(341, 50)
	conn := r.db.Conn(t)
	r.dropSlot(conn)
	reaches(t, p, pipeline.Halted, "SLOT_MISSING")
	plan, err := pipeline.PlanRepair(t.Context(), r.cfg)
	if err != nil || plan.Fork == nil || plan.Fork.Lost != 40 || plan.Slot == nil || plan.Slot.Missing != 50 {
		t.Fatalf("%+v %+v, %v", plan.Fork, plan.Slot, err)
	}
	if _, err := pipeline.Repair(t.Context(), r.cfg, plan.Hash); err != nil {
		t.Fatal(err)
	}
	reaches(t, p, pipeline.Streaming, "")
	r.write(391, 100)
	r.caughtUp()
	topic := r.topic("order")
	have := pgtest.Values[string](t, r.db, "select id::text from runnel.outbox")
	for _, id := range have {
		if topic[id] != 1 {
			t.Errorf("%s is in the topic %d times", id, topic[id])
		}
	}
	if len(topic) != len(have)+40 {
		t.Errorf("%d events in the topic, %d in the database", len(topic), len(have))
	}
}
