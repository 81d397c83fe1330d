package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/broker/brokertest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// TestTopicDeleted: a topic that was deleted is not filled from the middle in
// silence, also not when it is made anew.
func TestTopicDeleted(t *testing.T) {
	t.Parallel()
	w, _, stop := newPublished(t)
	pgtest.Eventually(t, 20*time.Second, func() bool {
		return pgtest.Value[int](t, w.db, `select coalesce(sum(ordinal), 0)::int from runnel.progress_partition`) == 100
	}, "progress saved")
	stop()
	pulsartest.Admin(t, http.MethodDelete, "/admin/v2/persistent/"+w.cfg.Namespace+"/order/partitions?force=true", nil)
	p, _ := w.start()
	w.write(101, 20)
	reaches(t, p, pipeline.Halted, "TOPIC_TRUNCATED")
	if n := len(w.topic("order")); n != 0 {
		t.Errorf("%d events in the topic made anew", n)
	}

	w.goOnBehindLost(p)
	w.caughtUp()
	lowest, n := uint64(1<<63), 0
	w.readFrom("order", true, func(_ *broker.Incoming, s position.Stamp) { lowest, n = min(lowest, s.Ordinal), n+1 })
	if n != 20 || lowest < 2 {
		t.Errorf("%d events behind what was lost, from ordinal %d on", n, lowest)
	}
}

// goOnBehindLost does what the remedy says, as often as it is said.
func (w *world) goOnBehindLost(p *pipeline.Pipeline) {
	w.t.Helper()
	end := w.walEnd()
	for done := map[string]bool{}; !done[""]; {
		var st pipeline.Status
		pgtest.Eventually(w.t, 60*time.Second, func() bool {
			st = p.Status()
			if st.Code != "" && st.Code != "TOPIC_TRUNCATED" && st.State == pipeline.Halted {
				w.t.Fatalf("%s: %s", st.Code, st.Message)
			}
			return st.State == pipeline.Streaming && w.confirmed(end) || st.Code == "TOPIC_TRUNCATED" && !done[st.Message]
		}, "the next partition, or all is published")
		if done[st.Message] = true; st.Message != "" {
			_, update, _ := strings.Cut(st.Remedy, "\n")
			w.db.Exec(w.t, update)
		}
	}
}

// TestTopicDeletedUnconfirmed: of what was published and not confirmed when the topic was
// deleted, what progress knows of is not published again, the rest is; also when the daemon
// dies again before any of it is confirmed.
func TestTopicDeletedUnconfirmed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	next := w.unconfirmed(1)
	saved := pgtest.Value[int](t, w.db, `select sum(ordinal)::int from runnel.progress_partition`)
	pulsartest.Admin(t, http.MethodDelete, "/admin/v2/persistent/"+w.cfg.Namespace+"/order/partitions?force=true", nil)
	w.db.Exec(t, `select runnel.accept_lost(pipeline, topic) from runnel.progress_partition`) // the remedy, of each
	next = w.unconfirmed(next)
	p, _ := w.start()
	w.write(next, 100)
	w.goOnBehindLost(p)
	w.caughtUp()
	ids := map[string]int{}
	w.readFrom("order", true, func(m *broker.Incoming, _ position.Stamp) { ids[m.Properties["id"]]++ })
	for id, n := range ids {
		if n != 1 {
			t.Errorf("%s is there %d times", id, n)
		}
	}
	if n := pgtest.Value[int](t, w.db, `select count(*)::int from runnel.outbox`); len(ids)+saved != n {
		t.Errorf("%d events of %d, and %d were known to be published", len(ids), n, saved)
	}
}

// TestTopicDeletedUnderLoad: a topic is deleted while it is published to, and goes on behind
// what is lost. What readers have seen of it comes at the same place again, or never.
func TestTopicDeletedUnderLoad(t *testing.T) {
	t.Parallel()
	w, p, stop := newPublished(t)

	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	type place struct {
		partition int
		ordinal   uint64
	}
	seen, ids := map[place]position.Stamp{}, map[place]string{}
	var readers errgroup.Group
	for i := range 4 {
		r, err := w.client.Read(ctx, broker.Partition{Topic: wire.TopicName(w.cfg.Namespace, "order"), Index: i}, broker.Start{})
		if err != nil {
			t.Fatal(err)
		}
		readers.Go(func() error {
			defer r.Close()
			for {
				m, err := r.Next(ctx)
				if err != nil {
					return nil // deleted
				}
				stamp, err := m.Stamp()
				if err != nil {
					return err
				}
				mu.Lock()
				at := place{i, stamp.Ordinal}
				seen[at], ids[at] = stamp, m.Properties["id"]
				mu.Unlock()
			}
		})
	}
	saw := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(seen)
	}
	load := w.load(101)
	// What the slot has passed is in the tails that are saved.
	var passed []uint64
	var saved []map[place]bool // of each partition its last
	pgtest.Eventually(t, 30*time.Second, func() bool {
		passed = append(passed, uint64(pgtest.Value[int64](t, w.db, `select (confirmed_flush_lsn - '0/0')::bigint from pg_replication_slots where slot_name = $1`, w.cfg.Slot)))
		now := map[place]bool{}
		for _, tail := range pgtest.Values[string](t, w.db, `select partition || ' ' || ordinal from runnel.progress_partition where topic like '%/order'`) {
			var at place
			if _, err := fmt.Sscan(tail, &at.partition, &at.ordinal); err != nil {
				t.Fatal(err)
			}
			now[at] = true
		}
		saved = append(saved, now)
		return saw() > 5000 && len(saved) > 20
	}, "events pass")
	pulsartest.Admin(t, http.MethodDelete, "/admin/v2/persistent/"+w.cfg.Namespace+"/order/partitions?force=true", nil)
	reaches(t, p, pipeline.Halted, "TOPIC_TRUNCATED")
	cancel()
	load.stop()
	if err := readers.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, end := range passed {
		for at, s := range seen {
			for tail := range saved[i] {
				if tail.partition == at.partition && s.LSN < end && at.ordinal > tail.ordinal {
					t.Fatalf("the slot had passed %s of partition %d, of which nothing beyond %d was saved", s, at.partition, tail.ordinal)
				}
			}
		}
	}
	w.goOnBehindLost(p)
	stop()

	again, both := 0, 0
	before := map[string]bool{}
	for _, id := range ids {
		before[id] = true
	}
	w.readFrom("order", true, func(m *broker.Incoming, s position.Stamp) {
		again++
		at, id := place{m.Partition.Index, s.Ordinal}, m.Properties["id"]
		if was, ok := ids[at]; ok && (was != id || seen[at] != s) {
			t.Errorf("%s of partition %d is %s now, and was %s at %s", s, at.partition, id, was, seen[at])
		} else if ok {
			both++
		} else if before[id] {
			t.Errorf("%s was seen before, elsewhere than at %s", id, s)
		}
	})
	total := pgtest.Value[int](t, w.db, `select count(*)::int from runnel.outbox`)
	t.Logf("%d events; %d were seen before the topic was deleted, %d after, %d of them both times at the same place", total, len(seen), again, both)
}

// TestTopicDeletedWhileDown: what a topic held that was deleted is not taken for missing from
// the slot, also when nothing is written that would go there, or when retention may have
// emptied it; and is not published again.
func TestTopicDeletedWhileDown(t *testing.T) {
	for _, c := range []struct {
		name      string
		retention time.Duration
		before    func(*world)
	}{
		{"idle", 0, func(*world) {}},
		{"accepted as of old", 0, func(w *world) {
			w.db.Exec(w.t, `update runnel.progress_partition set resumed_ordinal = ordinal`)
		}},
		{"retention", time.Hour, func(*world) {}},
		{"retention, and events to come", time.Hour, func(w *world) { w.write(102, 10) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.cfg.Recheck, w.cfg.Retention = time.Second, c.retention
			w.init()
			_, stop := w.start()
			w.write(1, 100)
			w.complete("order")
			w.loseTopic(stop)
			c.before(w)
			p, _ := w.start()
			reaches(t, p, pipeline.Halted, "TOPIC_TRUNCATED")
			w.goOnBehindLost(p)
			w.write(112, 20)
			w.caughtUp()
			if st := p.Status(); st.State != pipeline.Streaming {
				t.Errorf("%s %s", st.State, st.Message)
			}
			want := pgtest.Value[int](t, w.db, `select count(*)::int from runnel.outbox`) - 101
			ids := map[string]bool{}
			n := 0
			w.readFrom("order", true, func(m *broker.Incoming, _ position.Stamp) { ids[m.Properties["id"]], n = true, n+1 })
			if n != want || len(ids) != want {
				t.Errorf("%d events were published since, %d of them different, want %d", n, len(ids), want)
			}
		})
	}
}

// loseTopic deletes the topic after the daemon has stopped, with an event that the slot has
// confirmed and that progress does not show.
func (w *world) loseTopic(stop func()) {
	w.t.Helper()
	pgtest.Eventually(w.t, 30*time.Second, func() bool {
		return pgtest.Value[bool](w.t, w.db, `select exists (select from runnel.progress where snapshot is not null)`)
	}, "progress saved")
	w.write(101, 1)
	w.caughtUp()
	stop()
	pulsartest.Admin(w.t, http.MethodDelete, "/admin/v2/persistent/"+w.cfg.Namespace+"/order/partitions?force=true", nil)
}

// TestLostEndBeforeProgress: that a partition goes on behind what it has lost is known until
// progress covers that, however many runs begin before it is saved.
func TestLostEndBeforeProgress(t *testing.T) {
	t.Parallel()
	w, _, stop := newPublished(t)
	w.loseTopic(stop)
	p, _ := w.start()
	reaches(t, p, pipeline.Halted, "TOPIC_TRUNCATED")
	tx, err := w.db.Conn(t).Begin(t.Context())
	if err == nil {
		_, err = tx.Exec(t.Context(), `lock table runnel.progress in exclusive mode`) // saving fails, reading does not
	}
	if err != nil {
		t.Fatal(err)
	}
	w.db.Exec(t, `select runnel.accept_lost(pipeline, topic) from runnel.progress_partition`)
	w.write(102, 20)
	count := func() (n int) {
		w.readFrom("order", true, func(_ *broker.Incoming, _ position.Stamp) { n++ })
		return n
	}
	first := 0
	pgtest.Eventually(t, 60*time.Second, func() bool {
		st := p.Status()
		if st.Code == "SLOT_GAP" {
			t.Fatal(st.Message)
		}
		if first == 0 && st.State == pipeline.Streaming && count() == 20 {
			first = st.Run
		}
		return first > 0 && st.Run >= first+2
	}, "two more runs")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.caughtUp()
	if st, n := p.Status(), count(); st.State != pipeline.Streaming || n != 20 {
		t.Errorf("%s %s; %d events were published since, want 20", st.State, st.Message, n)
	}
}

// TestGapBehindALostEnd: that partitions go on behind what they have lost, and have got nothing
// since, does not hide that the stream lacks later rows of theirs.
func TestGapBehindALostEnd(t *testing.T) {
	t.Parallel()
	w, p, stop := newPublished(t)
	pulsartest.Admin(t, http.MethodDelete, "/admin/v2/persistent/"+w.cfg.Namespace+"/order/partitions?force=true", nil)
	w.write(101, 1)
	w.goOnBehindLost(p)
	stop()
	w.write(102, 20)
	w.db.Exec(t, `select pg_replication_slot_advance($1, pg_current_wal_lsn())`, w.cfg.Slot)
	w.db.Exec(t, `update runnel.pipeline set slot_limit = null`)
	p, _ = w.start()
	if st := reaches(t, p, pipeline.Halted, "SLOT_GAP"); !strings.Contains(st.Message, "20 ") {
		t.Error(st.Message)
	}
}

// TestForeignMessage: what another producer has put into a partition halts the daemon,
// which names it; listed, it is passed over.
func TestForeignMessage(t *testing.T) {
	t.Parallel()
	w, _, stop := newPublished(t)
	stop()
	w.intrude("order")
	w.write(101, 100)
	var names []string
	for len(names) < w.cfg.Partitions {
		p, stop := w.start()
		st := reaches(t, p, pipeline.Halted, "FOREIGN_MESSAGE")
		name, _, found := strings.Cut(st.Message, ": ")
		if !found || !strings.Contains(st.Message, "sent by producer") || !strings.Contains(st.Remedy, "topics.foreign") || slices.Contains(names, name) {
			t.Fatalf("%s: %s", st.Message, st.Remedy)
		}
		names = append(names, name)
		w.cfg.Foreign = strings.Join(names, ", ")
		stop()
	}
	p, _ := w.start()
	reaches(t, p, pipeline.Streaming, "")
	w.caughtUp()
	n := 0
	w.readFrom("order", true, func(m *broker.Incoming, _ position.Stamp) { n++ })
	if n != 200 {
		t.Errorf("%d events, want 200", n)
	}
	cfg := w.cfg
	cfg.Foreign = "order 1:2:3"
	if _, err := pipeline.New(cfg); !errors.Is(err, broker.ErrConfig) {
		t.Error(err)
	}
}

// intrude publishes a message of another producer to every partition of a topic.
func (w *world) intrude(local string) {
	w.t.Helper()
	full := wire.TopicName(w.cfg.Namespace, local)
	n, err := w.client.Partitions(w.t.Context(), full)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cfg.Partitions = n
	enforced := "/admin/v2/namespaces/" + w.cfg.Namespace + "/schemaValidationEnforced"
	pulsartest.Admin(w.t, http.MethodPost, enforced, false)
	defer pulsartest.Admin(w.t, http.MethodPost, enforced, true)
	for i := range n {
		brokertest.SendRaw(w.t, broker.Partition{Topic: full, Index: i}.String(), brokertest.Raw{Payload: []byte{0}})
	}
}

// TestTopicGrown: partitions that somebody adds stay empty, so that an aggregate's events
// stay where they were; and with fewer than there were nothing is published.
func TestTopicGrown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck, w.cfg.Partitions = time.Second, 3
	w.init()
	_, stop := w.start()
	w.write(1, 100)
	w.complete("order")
	stop()
	path := "/admin/v2/persistent/" + w.cfg.Namespace + "/order/partitions"
	pulsartest.Admin(t, http.MethodPost, path, 6)
	_, stop = w.start()
	w.write(101, 200)
	w.complete("order")
	stop()
	for i := range 3 {
		p := broker.Partition{Topic: wire.TopicName(w.cfg.Namespace, "order"), Index: 3 + i}
		reader, err := w.client.Read(t.Context(), p, broker.Start{})
		if err != nil {
			t.Fatal(err)
		}
		if more, err := reader.HasNext(t.Context()); more || err != nil {
			t.Errorf("%s has messages: %v, %v", p, more, err)
		}
		reader.Close()
	}

	pulsartest.Admin(t, http.MethodDelete, path+"?force=true", nil)
	pulsartest.Admin(t, http.MethodPut, path, 2)
	p, _ := w.start()
	reaches(t, p, pipeline.Halted, "PARTITION_COUNT")
}
