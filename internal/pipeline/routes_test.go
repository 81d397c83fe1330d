package pipeline_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/history"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/router"
)

// routedTopics are where the routes of these tests lead.
var routedTopics = []string{"order", "shipped", "other"}

// routes are those that the database has a record of.
func (w *world) routes() []history.Generation {
	w.t.Helper()
	all, err := history.ParseRouting([]byte(pgtest.Value[string](w.t, w.db, `select routing::text from runnel.pipeline`)))
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// routed waits until all is confirmed, and requires that each row of the outbox is in
// one topic, once: the one that the routes lead to which were in force at its position.
func (w *world) routed() {
	w.t.Helper()
	w.caughtUp()
	all := w.routes()
	ids := map[string]int{}
	for _, local := range routedTopics {
		w.read(local, func(m *broker.Incoming, at position.Stamp) {
			ids[m.Properties["id"]]++
			want := ""
			for _, g := range all {
				after, err := g.Begin()
				if err != nil {
					w.t.Fatal(err)
				}
				if after.Less(at.Position) {
					want = "order"
					if len(g.Routes) > 0 {
						want = g.Routes[0].Topic
					}
				}
			}
			if want != local {
				w.t.Errorf("%s is in topic %s, want %s", at, local, want)
			}
		})
	}
	rows := pgtest.Values[string](w.t, w.db, `select id::text from runnel.outbox`)
	for _, id := range rows {
		if ids[id] != 1 {
			w.t.Errorf("event %s was published %d times", id, ids[id])
		}
		delete(ids, id)
	}
	if len(ids) > 0 {
		w.t.Errorf("%d events are in no row", len(ids))
	}
}

// TestRoutesChange: a daemon is killed with events published that are not confirmed, and
// the next has other routes.
func TestRoutesChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	next := 1
	for _, to := range []string{"order", "shipped", "other", "shipped"} {
		w.cfg.Routes = []router.RouteRule{{Type: "OrderShipped", Topic: to}}
		next = w.unconfirmed(next)
	}
	w.cfg.Routes = nil
	p, _ := w.start()
	reaches(t, p, pipeline.Streaming, "")
	w.write(next, 100)
	w.routed()
	// One under which only what was left of the one before was published is not kept.
	if all := w.routes(); len(all) < 2 || all[0].Generation != 1 || all[len(all)-1].Generation != 5 {
		t.Errorf("%+v, want the first to the fifth generation", all)
	}
}

// TestRoutesRecord: what was published where is told by the history topic, and by the
// database if that is lost; by neither, nothing is published under other routes.
func TestRoutesRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	run := func(to string, first int, done func()) {
		t.Helper()
		w.cfg.Routes = []router.RouteRule{{Type: "OrderShipped", Topic: to}}
		_, stop := w.start()
		defer stop()
		w.write(first, 50)
		done()
	}
	forget := func() {
		t.Helper()
		pulsartest.Admin(t, http.MethodDelete, "/admin/v2/persistent/"+w.cfg.Namespace+"/"+history.Topic(w.cfg.Name)+"/partitions?force=true", nil)
	}
	run("shipped", 1, w.routed)
	w.db.Exec(t, `update runnel.pipeline set routing = null`)
	run("shipped", 51, w.routed)
	if all := w.routes(); len(all) != 1 {
		t.Errorf("%+v, want the generation of the topic", all)
	}
	run("other", 101, w.routed)
	forget()
	run("other", 151, w.routed)
	run("shipped", 201, w.routed)
	if all := w.routes(); len(all) != 3 || all[2].Generation != 3 {
		t.Errorf("%+v, want three", all)
	}
	forget()
	w.db.Exec(t, `update runnel.pipeline set routing = null`)
	w.cfg.Routes = nil
	p, stop := w.start()
	reaches(t, p, pipeline.Halted, "ROUTES_CHANGED")
	stop()
	if n := len(w.topic("order")); n != 0 {
		t.Errorf("%d events were published", n)
	}
	run("shipped", 251, w.caughtUp) // as before: from then on it is known
	run("order", 301, w.caughtUp)
	for topic, want := range map[string]int{"shipped": 200, "other": 100, "order": 50} {
		if n := len(w.topic(topic)); n != want {
			t.Errorf("%d events in topic %s, want %d", n, topic, want)
		}
	}
}

// TestRoutesAndFailover: a database that lags behind does not know where other routes have
// led; what was published there, and is lost, is found all the same.
func TestRoutesAndFailover(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	w.cfg.Routes = []router.RouteRule{{Type: "OrderShipped", Topic: "other"}}
	former := w.cfg.Routes
	_, stop := w.start()
	w.write(1, 50)
	w.caughtUp()
	stop()
	w.db.Exec(t, `create table saved as select routing, routes_hash from runnel.pipeline`)
	fork := w.walEnd()
	w.cfg.Routes = []router.RouteRule{{Type: "OrderShipped", Topic: "shipped"}}
	_, stop = w.start()
	w.write(51, 30)
	w.caughtUp()
	stop()
	// What a standby had that was promoted behind the first events.
	w.db.Exec(t, `update runnel.pipeline set (routing, routes_hash) = (select * from saved)`)
	w.db.Exec(t, `delete from runnel.progress_partition where topic like '%/shipped'`)
	w.db.Exec(t, `insert into runnel.epoch (epoch, system_id, timeline, begin_lsn) select 2, system_id, timeline, $1::text::pg_lsn from runnel.epoch`, fork)
	w.cfg.Routes = former
	plan, err := pipeline.PlanRepair(t.Context(), w.cfg)
	if err != nil || plan.Fork == nil || plan.Fork.Lost != 30 {
		t.Fatalf("%+v, %v", plan.Fork, err)
	}
	w.db.Exec(t, `delete from runnel.progress_partition where topic like '%/shipped'`)
	p, _ := w.start()
	if st := reaches(t, p, pipeline.Halted, "HISTORY_LOST"); !strings.Contains(st.Message, "30 events") {
		t.Error(st.Message)
	}
}

// TestFormerTopicWithoutSchema: what was published to a topic that former routes led to, and
// was not confirmed, is not decided anew because the topic's schema is gone: it is not parked.
func TestFormerTopicWithoutSchema(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.cfg.Park = true
	w.init()
	w.cfg.Routes = []router.RouteRule{{Type: "OrderShipped", Topic: "shipped"}}
	w.unconfirmed(1)
	pulsartest.Admin(t, http.MethodDelete, "/admin/v2/schemas/"+w.cfg.Namespace+"/shipped/schema", nil)
	w.cfg.Routes = nil
	p, _ := w.start()
	if st := reaches(t, p, pipeline.Halted, "SCHEMAS_NOT_APPLIED"); !strings.Contains(st.Message, "was published to") || st.Parked != nil {
		t.Errorf("%s, parked: %+v", st.Message, st.Parked)
	}
}

// TestRoutesUnused: routes under which nothing was published leave no record.
func TestRoutesUnused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	for _, to := range []string{"shipped", "other", "shipped"} {
		w.cfg.Routes = []router.RouteRule{{Type: "OrderShipped", Topic: to}}
		p, stop := w.start()
		reaches(t, p, pipeline.Streaming, "")
		pgtest.Eventually(t, 20*time.Second, func() bool {
			return pgtest.Value[bool](t, w.db, `select coalesce((select routing -> -1 -> 'routes' -> 0 ->> 'topic' = $1 from runnel.pipeline), false)`, to)
		}, "the routes recorded")
		stop()
	}
	if all := w.routes(); len(all) != 1 || all[0].Generation != 3 || all[0].After != "" {
		t.Errorf("%+v, want the third alone", all)
	}
	w.write(1, 20)
	_, stop := w.start()
	w.routed()
	stop()
	if got := w.topic("shipped"); len(got) != 20 {
		t.Errorf("%d events in the topic of the last routes: %v", len(got), slices.Collect(maps.Keys(got)))
	}
}

// TestNamespaceChanged: what was published elsewhere is not published once more.
func TestNamespaceChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.init()
	_, stop := w.start()
	w.write(1, 20)
	w.caughtUp()
	stop()
	w.cfg.Namespace = pulsartest.NamespaceName(t)
	p, _ := w.start()
	reaches(t, p, pipeline.Halted, "NAMESPACE_CHANGED")
}

// TestRoutesBehindALostTopic: routes that change after a topic was deleted do not lead elsewhere
// what readers may have seen there.
func TestRoutesBehindALostTopic(t *testing.T) {
	t.Parallel()
	w, _, stop := newPublished(t)
	stop()
	next := w.unconfirmed(101)
	seen := w.topic("order")
	pulsartest.Admin(t, http.MethodDelete, "/admin/v2/persistent/"+w.cfg.Namespace+"/order/partitions?force=true", nil)
	p, stop := w.start() // makes the topic anew, for all events that went there
	reaches(t, p, pipeline.Halted, "TOPIC_TRUNCATED")
	stop()
	w.cfg.Routes = []router.RouteRule{{Type: "OrderShipped", Topic: "shipped"}}
	p, _ = w.start()
	reaches(t, p, pipeline.Halted, "TOPIC_TRUNCATED")
	w.goOnBehindLost(p)
	w.write(next, 200)
	w.caughtUp()
	times := map[string]int{}
	for _, topic := range []string{"order", "shipped"} {
		w.readFrom(topic, true, func(m *broker.Incoming, _ position.Stamp) {
			id := m.Properties["id"]
			if times[id]++; topic == "shipped" && seen[id] > 0 {
				t.Errorf("%s was seen in order, and came in %s", id, topic)
			}
		})
	}
	for id, n := range times {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	if n := len(w.topic("shipped")); n == 0 {
		t.Error("nothing was published under the new routes")
	}
	t.Logf("%d events were seen before, %d are there after", len(seen), len(times))
}
