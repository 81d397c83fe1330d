package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/outbox"
)

const schemasDir = "../../examples/quickstart/schemas"

// world is a source database and a namespace, with a pipeline's configuration.
type world struct {
	t      *testing.T
	db     *pgtest.DB
	cfg    pipeline.Config
	client *broker.Pulsar
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := pgtest.New(t)
	w := &world{t: t, db: db, cfg: pipeline.Config{
		Name: db.Name(), PostgresURL: db.URL(), Slot: db.Slot("slot"),
		Broker:    broker.Config{URL: pulsartest.URL(t), AdminURL: pulsartest.AdminURL(t)},
		Namespace: pulsartest.NamespaceName(t), Schemas: schemasDir, AutoApply: true,
		Roles:  outbox.Roles{Owner: db.Role("owner"), Writer: db.Role("writer"), Daemon: db.Role("daemon")},
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}}
	var err error
	if w.client, err = broker.Dial(t.Context(), w.cfg.Broker); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	return w
}

// init creates the outbox, so that rows can be written before the first start.
func (w *world) init() {
	w.t.Helper()
	if _, err := outbox.Init(w.t.Context(), w.db.Conn(w.t), outbox.InitOptions{Roles: w.cfg.Roles}); err != nil {
		w.t.Fatal(err)
	}
}

// start runs the pipeline; the returned function stops it and waits.
func (w *world) start() (p *pipeline.Pipeline, stop func()) {
	w.t.Helper()
	p, err := pipeline.New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
	w.t.Cleanup(stop)
	return p, stop
}

// write inserts n OrderShipped events of some orders in transactions of ten.
func (w *world) write(first, n int) {
	w.t.Helper()
	w.db.Exec(w.t, fmt.Sprintf(`do $$ begin
		for i in %d .. %d loop
			perform runnel.publish('order', (i %% 17)::text, 'OrderShipped', jsonb_build_object(
				'order_id', i::text, 'carrier', 'DHL', 'shipped_at', now()));
			if i %% 10 = 0 then commit; end if;
		end loop; end $$`, first, first+n-1))
}

// topic reads everything in a topic, and checks positions and ordinals.
func (w *world) topic(local string) map[string]int {
	w.t.Helper()
	ids := map[string]int{}
	full := pipeline.FullName(w.cfg.Namespace, local)
	n, err := w.client.Partitions(w.t.Context(), full)
	if err != nil {
		return ids
	}
	for i := range n {
		r, err := w.client.Read(w.t.Context(), broker.Partition{Topic: full, Index: i}, broker.Start{})
		if err != nil {
			w.t.Fatal(err)
		}
		var last position.Stamp
		for {
			more, err := r.HasNext(w.t.Context())
			if err != nil {
				w.t.Fatal(err)
			}
			if !more {
				break
			}
			m, err := r.Next(w.t.Context())
			if err != nil {
				w.t.Fatal(err)
			}
			s, err := m.Stamp()
			if err != nil || !last.Position.Less(s.Position) || s.Ordinal != last.Ordinal+1 {
				w.t.Fatalf("partition %d: %s after %s (%v)", i, s, last, err)
			}
			last = s
			ids[m.Properties["id"]]++
		}
		r.Close()
	}
	return ids
}

// complete waits until the topic holds every row of the outbox, each once.
func (w *world) complete(local string) {
	w.t.Helper()
	want := pgtest.Values[string](w.t, w.db, `select id::text from runnel.outbox`)
	pgtest.Eventually(w.t, 60*time.Second, func() bool { return len(w.topic(local)) >= len(want) }, "all events in the topic")
	got := w.topic(local)
	for _, id := range want {
		if got[id] != 1 {
			w.t.Errorf("event %s is in the topic %d times", id, got[id])
		}
	}
	if len(got) != len(want) {
		w.t.Errorf("%d events in the topic, %d in the outbox", len(got), len(want))
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b[:len(b)-1])
	return len(b), nil
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBeforeAndAfterTheFirstStart: rows that were in the outbox before the slot
// existed, and rows that came later, are each published once, also over
// restarts.
func TestBeforeAndAfterTheFirstStart(t *testing.T) {
	w := newWorld(t)
	w.init()
	w.write(1, 100)
	_, stop := w.start()
	w.write(101, 300)
	w.complete("order")
	stop()
	w.write(401, 100)
	p, _ := w.start()
	w.complete("order")
	if st := p.Status(); st.State != pipeline.Streaming {
		t.Errorf("state %s: %s %s", st.State, st.Code, st.Message)
	}
}
