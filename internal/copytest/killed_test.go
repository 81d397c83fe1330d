package copytest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/examples/quickstart/fulfilment"
	"github.com/runnel-cdc/runnel/examples/quickstart/orders"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// The quickstart's fulfilment service is killed again and again while orders are
// placed, paid, shipped and cancelled, every other time with a successor there
// already. Its handlers insert without "on conflict" and require the order that
// they change: what came twice, or too early, would be parked.
func TestFulfilmentKilled(t *testing.T) {
	beside(t)
	kills := of(4, 100)
	s := newSource(t, "../../examples/quickstart/schemas")
	s.db.Exec(t, orders.Schema)
	daemon := s.daemon()
	db := pgtest.New(t)
	c := &copied{t, db, db.Pool(t), s, fulfilment.Name}
	random := rand.New(rand.NewPCG(1, 1))

	sourcePool := s.db.Pool(t)
	stop := work(t, &orders.Simulation{DB: sourcePool, Pause: 4 * time.Millisecond, Seed: 1})
	began := time.Now()
	as := func(s *settings) { s.Role = roleFulfilment }
	service := c.projection(as)
	c.awaits(1, 1, service, daemon)
	for i := range kills {
		old := service
		if i%2 == 0 {
			service = c.projection(as) // there already when the other one dies
		}
		// Somewhere in its transactions, after some of them.
		c.awaits(1, c.passed(1)+1+random.IntN(200), service, daemon)
		old.mustLive()
		old.Kill()
		if i%2 == 1 {
			service = c.projection(as)
		}
	}
	c.awaits(1, c.passed(1)+1, service, daemon)
	stop()
	took := time.Since(began)
	total := s.committed()
	c.awaits(1, total, service, daemon)

	want, got := allOrders(t, sourcePool, "public.orders"), allOrders(t, c.pool, "fulfilment.orders")
	if !maps.Equal(got, want) || len(want) == 0 {
		t.Errorf("the copy has %d orders and differs from the source's %d", len(got), len(want))
	}
	if n := pgtest.Value[int](t, db, "select count(*)::int from runnel_projections.parked"); n != 0 {
		t.Errorf("%d events are parked", n)
	}
	if passed := c.passed(1); passed != total {
		t.Errorf("the copy passed %d events of %d", passed, total)
	}
	t.Logf("killed %d times: %d events in %s (%.0f/s), %d orders, the copy equals them", kills, total, took.Round(time.Second), float64(total)/took.Seconds(), len(want))
}

// work changes orders until stop is called.
func work(t *testing.T, s *orders.Simulation) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the orders service: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// allOrders reads every order as text, by id.
func allOrders(t *testing.T, pool *pgxpool.Pool, table string) map[string]string {
	t.Helper()
	rows, _ := pool.Query(t.Context(), `select id, o::text from (select id, customer_id, status, lines, total, currency,
		city, paid_by, carrier, tracking, reason from `+table+`) o`)
	all := make(map[string]string)
	var id, row string
	if _, err := pgx.ForEachRow(rows, []any{&id, &row}, func() error { all[id] = row; return nil }); err != nil {
		t.Fatal(fmt.Errorf("%s: %w", table, err))
	}
	return all
}
