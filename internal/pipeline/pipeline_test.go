package pipeline_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
)

const schemasDir = "../../examples/quickstart/schemas"

// world is a source database and a namespace, with a pipeline's configuration.
type world struct {
	t      *testing.T
	db     *pgtest.DB
	cfg    pipeline.Config
	client *broker.Pulsar
	url    string // of the source database, as the daemon sees it
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, pgtest.New(t))
}

func newWorldOn(t *testing.T, db *pgtest.DB) *world {
	t.Helper()
	w := &world{t: t, db: db, url: db.URL()}
	w.cfg = pipeline.Config{
		Name: db.Name(), Postgres: func() (string, error) { return w.url, nil }, Slot: db.Slot("slot"),
		Broker:    broker.Config{URL: pulsartest.URL(t), AdminURL: pulsartest.AdminURL(t)},
		Namespace: pulsartest.NamespaceName(t), Schemas: schemasDir, AutoApply: true,
		Roles:  outbox.Roles{Owner: db.Role("owner"), Writer: db.Role("writer"), Daemon: db.Role("daemon")},
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	var err error
	if w.client, err = broker.Dial(t.Context(), w.cfg.Broker); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	return w
}

// newPublished returns a world with 100 events in the topic order, and its daemon, which
// looks every second whether what halts it is mended.
func newPublished(t *testing.T) (w *world, p *pipeline.Pipeline, stop func()) {
	t.Helper()
	w = newWorld(t)
	w.cfg.Recheck = time.Second
	w.init()
	p, stop = w.start()
	w.write(1, 100)
	w.complete("order")
	return w, p, stop
}

// init creates the outbox as an administrator does. From then on the pipeline
// is the daemon's role, which is no superuser.
func (w *world) init() {
	w.t.Helper()
	if _, err := outbox.Init(w.t.Context(), w.db.Conn(w.t), outbox.InitOptions{Roles: w.cfg.Roles}); err != nil {
		w.t.Fatal(err)
	}
	const password = "of-a-test" // of a role that ends with the test
	w.db.Exec(w.t, `alter role "`+w.cfg.Roles.Daemon+`" password '`+password+`'`)
	w.url = w.db.URLAs(w.cfg.Roles.Daemon, password)
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

// write inserts n OrderShipped events of some orders, ten a transaction, which
// commit in the order of their numbers.
func (w *world) write(first, n int) {
	w.t.Helper()
	w.db.Exec(w.t, fmt.Sprintf(`do $$ begin
		for i in %d .. %d by 10 loop
			insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
			select 'order', (k %% 17)::text, 'OrderShipped', 2, convert_to(jsonb_build_object(
				'order_id', k::text, 'carrier', 'DHL', 'shipped_at', now())::text, 'UTF8')
			  from generate_series(i, least(i + 9, %[2]d)) k;
			commit;
		end loop; end $$`, first, first+n-1))
}

// topic reads everything in a topic, and checks positions and ordinals.
func (w *world) topic(local string) map[string]int {
	w.t.Helper()
	ids := map[string]int{}
	w.read(local, func(m *broker.Incoming, _ position.Stamp) { ids[m.Properties["id"]]++ })
	return ids
}

// stamps are those of everything in a topic.
func (w *world) stamps(local string) (all []position.Stamp) {
	w.t.Helper()
	w.read(local, func(_ *broker.Incoming, s position.Stamp) { all = append(all, s) })
	return all
}

func (w *world) read(local string, take func(*broker.Incoming, position.Stamp)) {
	w.t.Helper()
	w.readFrom(local, false, take)
}

// readFrom is read for a topic that may have lost its beginning, and hold messages that
// are not ours.
func (w *world) readFrom(local string, harmed bool, take func(*broker.Incoming, position.Stamp)) {
	w.t.Helper()
	full := wire.TopicName(w.cfg.Namespace, local)
	n, err := w.client.Partitions(w.t.Context(), full)
	if err != nil {
		return
	}
	for i := range n {
		r, err := w.client.Read(w.t.Context(), broker.Partition{Topic: full, Index: i}, broker.Start{})
		if err != nil {
			w.t.Fatal(err)
		}
		var last position.Stamp
		sent := map[position.Stamp]string{}
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
			if harmed && err != nil {
				continue
			}
			if harmed && last.Ordinal == 0 {
				last.Ordinal = s.Ordinal - 1
			}
			if err != nil || !last.Position.Less(s.Position) || s.Ordinal != last.Ordinal+1 {
				// One that was sent again, by whoever, carries the time of that.
				w.t.Fatalf("partition %d: %s after %s (%v): message %s of %s, %s before it", i, s, last, err, m.ID, m.PublishTime, sent[s])
			}
			last, sent[s] = s, fmt.Sprintf("%s of %s", m.ID, m.PublishTime)
			take(m, s)
		}
		r.Close()
	}
}

// walEnd is where the WAL ends: everything that is committed is below.
func (w *world) walEnd() string {
	w.t.Helper()
	conn := pgtest.Conn(w.t, w.db.URL())
	defer func() { _ = conn.Close(context.Background()) }()
	end, err := capture.WALEnd(w.t.Context(), conn, false)
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprintf("%X/%X", end>>32, uint32(end))
}

// confirmed reports whether the slot has confirmed everything up to an end of the WAL.
func (w *world) confirmed(end string) bool {
	return pgtest.Value[bool](w.t, w.db, `select coalesce((select s.confirmed_flush_lsn >= $2::text::pg_lsn and p.snapshot_done
		from pg_replication_slots s join runnel.pipeline p on p.slot = s.slot_name where s.slot_name = $1), false)`, w.cfg.Slot, end)
}

// caughtUp waits until the slot has confirmed what is in the WAL now.
func (w *world) caughtUp() {
	w.t.Helper()
	end := w.walEnd()
	pgtest.Eventually(w.t, 60*time.Second, func() bool { return w.confirmed(end) }, "everything confirmed")
}

// complete waits until all is confirmed, and requires that the topic holds
// every row of the outbox, each once.
func (w *world) complete(local string) {
	w.t.Helper()
	w.caughtUp()
	want := pgtest.Values[string](w.t, w.db, `select id::text from runnel.outbox`)
	got := w.topic(local)
	missing, repeated := 0, 0
	for _, id := range want {
		switch {
		case got[id] == 0:
			missing++
		case got[id] > 1:
			repeated++
		}
	}
	if missing > 0 {
		var ids []string
		for _, id := range want {
			if got[id] == 0 {
				ids = append(ids, id)
			}
		}
		w.t.Logf("missing: %s", pgtest.Value[string](w.t, w.db, `select string_agg(format('%s-%s (%s)', a, b, n), ' ') from (
			select min(seq) a, max(seq) b, count(*) n from (
				select seq, seq - row_number() over (order by seq) as g from runnel.outbox where id = any($1::text[]::uuid[])) x
			group by g order by 1 limit 40) y`, ids))
	}
	if missing+repeated > 0 || len(got) != len(want) {
		w.t.Errorf("of %d events in the outbox, %d are missing in the topic and %d there more than once; it holds %d",
			len(want), missing, repeated, len(got))
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b[:len(b)-1])
	return len(b), nil
}

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
