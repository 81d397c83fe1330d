package pipeline_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/position"
)

// failovers is how many of them TestFailovers plays; `make failovers` asks for more.
func failovers(t *testing.T) int {
	text := os.Getenv("RUNNEL_FAILOVERS")
	if text == "" {
		return 2
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// address is where the primary is, as services are told: a list that may change.
type address struct{ text atomic.Pointer[string] }

func (a *address) get() (string, error) { return *a.text.Load(), nil }

// lead leads to whichever of the servers takes writes.
func (a *address) lead(t *testing.T, r *stacktest.Replicas, database string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	first, err := url.Parse(r.Primary.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	second, err := url.Parse(r.Standby.PostgresURL)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = first.Host + "," + second.Host
	q := u.Query()
	q.Set("target_session_attrs", "read-write")
	q.Set("connect_timeout", "5")
	u.RawQuery = q.Encode()
	text := u.String()
	a.text.Store(&text)
}

// service writes events of its own aggregates, with numbers that rise, as long as it
// may. It goes on at whatever server takes writes.
type service struct {
	name    string
	address *address
	next    int
	err     error
}

func (s *service) run(ctx context.Context) {
	var conn *pgx.Conn
	hangUp := func() {
		if conn != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
			conn = nil
		}
	}
	defer hangUp()
	for ctx.Err() == nil {
		if conn == nil {
			at, _ := s.address.get()
			var err error
			if conn, err = pgx.Connect(ctx, at); err != nil {
				conn = nil
				continue // nobody takes writes
			}
			// The last one may have been committed, and kept, or not.
			kept := 0
			if err := conn.QueryRow(ctx, `select coalesce(max((convert_from(payload, 'UTF8')::jsonb ->> 'order_id')::int), 0)
				from runnel.outbox where aggregate_id like $1`, s.name+"-%").Scan(&kept); err != nil {
				hangUp()
				continue
			}
			s.next = max(s.next, kept+1)
		}
		_, err := conn.Exec(ctx, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, payload)
			select 'order', $1::text || '-' || (k % 7), 'OrderShipped', 2, convert_to(jsonb_build_object(
				'order_id', k::text, 'carrier', 'DHL', 'shipped_at', now())::text, 'UTF8')
			from generate_series($2::int, $2::int + 4) k`, s.name, s.next)
		if err != nil && !conn.IsClosed() && ctx.Err() == nil {
			s.err = err
			return
		}
		if err != nil {
			hangUp()
			continue
		}
		s.next += 5
	}
}

// TestFailovers: one failover after another, each amid the writing of several services.
// What the database holds in the end is in the topic, each event once, in order, in the
// epoch of the timeline that holds it.
func TestFailovers(t *testing.T) {
	t.Parallel()
	servers := stacktest.NewReplicas(t, pgtest.Value[int](t, pgtest.New(t), "select current_setting('server_version_num')::int")/10000)
	w := newWorldOn(t, pgtest.NewOn(t, servers.Primary.PostgresURL))
	w.cfg.Recheck = time.Second
	w.init()
	var daemon, writer address
	daemon.lead(t, servers, w.url)
	writer.lead(t, servers, w.db.URL())
	w.cfg.Postgres = daemon.get
	p, _ := w.start()
	w.write(1, 100)
	w.complete("order")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var group sync.WaitGroup
	services := make([]*service, 4)
	for i := range services {
		services[i] = &service{name: fmt.Sprintf("s%d", i), address: &writer, next: 1}
		group.Go(func() { services[i].run(ctx) })
	}
	for n := range failovers(t) {
		if n > 0 {
			servers.Follow()
			daemon.lead(t, servers, w.url)
			writer.lead(t, servers, w.db.URL())
		}
		servers.AwaitSlot(w.cfg.Slot)
		began := time.Now()
		servers.Promote()
		promoted := time.Now()
		w.db = w.db.At(servers.OnStandby(w.db.URL()))
		before := pgtest.Value[int](t, w.db, "select count(*)::int from runnel.outbox")
		end := w.walEnd()
		pgtest.Eventually(t, 60*time.Second, func() bool { return w.confirmed(end) }, "what was there is confirmed")
		if st := p.Status(); st.State != pipeline.Streaming {
			t.Errorf("%s %s", st.State, st.Message)
		}
		t.Logf("failover %d: %d events were there; promoted after %s, all of them published after %s more",
			n+1, before, promoted.Sub(began).Round(time.Millisecond), time.Since(promoted).Round(time.Millisecond))
	}
	stop()
	group.Wait()
	for _, s := range services {
		if s.err != nil {
			t.Errorf("%s: %v", s.name, s.err)
		}
	}
	w.complete("order")
	w.inOrder("order")
	epochs := map[uint32]int{}
	w.read("order", func(_ *broker.Incoming, s position.Stamp) { epochs[s.Epoch]++ })
	t.Logf("events by epoch: %v", epochs)
	if len(epochs) != failovers(t)+1 {
		t.Errorf("%d epochs", len(epochs))
	}
}
