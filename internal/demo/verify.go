package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/examples/quickstart/orders"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/router"
)

// drain waits until the copy has applied as many events as were committed.
func (d *demo) drain(ctx context.Context, copied *pgxpool.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	admin, err := pgx.Connect(ctx, d.source.adminURL) // a writer may not read the outbox
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	var committed int
	if err := admin.QueryRow(ctx, `select count(*) from runnel.outbox`).Scan(&committed); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		applied, err := d.appliedCount(ctx, copied)
		if err == nil && applied >= committed {
			return nil
		}
		select {
		case <-d.daemon.Done():
			return fmt.Errorf("the daemon: %w", d.daemon.ended())
		case <-ctx.Done():
			// Not an error of its own: the verdict shows what is missing.
			return nil
		case <-tick.C:
		}
	}
}

// appliedCount is how many events the copy's positions have passed.
func (d *demo) appliedCount(ctx context.Context, copied *pgxpool.Pool) (n int, err error) {
	err = copied.QueryRow(ctx, `select coalesce(sum(ordinal), 0) from runnel_projections.position`).Scan(&n)
	return n, err
}

// result is a line of the verdict.
type result struct {
	name  string
	value string
	ok    *bool // nil: told, not judged
}

// verdict counts everything independently and prints the table.
func (d *demo) verdict(ctx context.Context, s *orders.Simulation, source, copied *pgxpool.Pool) error {
	committed, err := d.committedIDs(ctx)
	if err != nil {
		return err
	}
	messages, ids, err := d.readTopic(ctx)
	if err != nil {
		return err
	}
	missing, phantom := 0, 0
	for id := range committed {
		if ids[id] == 0 {
			missing++
		}
	}
	for id := range ids {
		if !committed[id] {
			phantom++
		}
	}
	sourceRows, err := allOrders(ctx, source, "orders")
	if err != nil {
		return err
	}
	copyRows, err := allOrders(ctx, copied, "fulfilment.orders")
	if err != nil {
		return err
	}
	different := compare(sourceRows, copyRows)
	memory, err := peakMemory(d.daemon.PID())
	if err != nil {
		return fmt.Errorf("read the daemon's memory: %w", err)
	}
	q := d.latency.quantiles(0.5, 0.99)

	table := []result{
		{"events committed", fmt.Sprint(len(committed)), check(len(committed) > 0)},
		{"transactions rolled back", fmt.Sprintf("%d, of which %d events were seen", s.RolledBack.Load(), phantom), check(phantom == 0)},
		{"messages in the topic, read raw", fmt.Sprint(messages), check(messages == len(committed))},
		{"distinct event ids among them", fmt.Sprintf("%d, of the committed ones %d missing", len(ids), missing), check(len(ids) == messages && missing == 0)},
		{"orders in the source", fmt.Sprint(len(sourceRows)), check(len(sourceRows) > 0)},
		{"orders in the local copy", fmt.Sprintf("%d, of which %d differ", len(copyRows), different), check(different == 0 && len(copyRows) == len(sourceRows))},
		{"commit to applied", fmt.Sprintf("p50 %s, p99 %s", milliseconds(q[0]), milliseconds(q[1])), nil},
		{"peak memory of the daemon", fmt.Sprintf("%.0f MiB", float64(memory)/(1<<20)), nil},
	}
	return d.print(table)
}

func (d *demo) print(table []result) error {
	d.say.heading("Counted independently: the outbox by SQL, the topic raw, the two tables row by row.")
	failed := 0
	for _, r := range table {
		mark := "      "
		if r.ok != nil {
			if mark = "ok    "; !*r.ok {
				mark = "WRONG "
				failed++
			}
		}
		d.say.line("  %s %-33s %s", mark, r.name, r.value)
	}
	if failed > 0 {
		return ErrDoesNotAddUp.New("%d of the counts are wrong", failed)
	}
	d.say.line("\nIt adds up: every committed event is in its topic once, and the copy equals the source.")
	return nil
}

func check(ok bool) *bool { return &ok }

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func (d *demo) committedIDs(ctx context.Context) (map[string]bool, error) {
	admin, err := pgx.Connect(ctx, d.source.adminURL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	rows, err := admin.Query(ctx, `select id::text from runnel.outbox`)
	if err != nil {
		return nil, err
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	ids := make(map[string]bool, len(list))
	for _, id := range list {
		ids[id] = true
	}
	return ids, err
}

// readTopic reads the topic from its beginning, without a subscription.
func (d *demo) readTopic(ctx context.Context) (messages int, ids map[string]int, err error) {
	client, err := d.dial(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer client.Close()
	topic := "persistent://" + d.namespace() + "/order"
	n, err := client.Partitions(ctx, topic)
	if err != nil {
		return 0, nil, err
	}
	ids = make(map[string]int)
	for i := range n {
		reader, err := client.Read(ctx, broker.Partition{Topic: topic, Index: i}, broker.Start{})
		if err != nil {
			return 0, nil, err
		}
		err = broker.ReadRest(ctx, reader, func(m *broker.Incoming) error {
			messages++
			ids[m.Properties[router.PropertyID]]++
			return nil
		})
		if err != nil {
			return 0, nil, err
		}
	}
	return messages, ids, nil
}

// allOrders reads every row as text, by id.
func allOrders(ctx context.Context, db *pgxpool.Pool, table string) (map[string]string, error) {
	rows, err := db.Query(ctx, `select id, o::text from (select id, customer_id, status, lines, total, currency,
		city, paid_by, carrier, tracking, reason from `+table+`) o`)
	if err != nil {
		return nil, err
	}
	all := make(map[string]string)
	var id, row string
	_, err = pgx.ForEachRow(rows, []any{&id, &row}, func() error {
		all[id] = row
		return nil
	})
	return all, err
}

// compare counts the rows that are not the same on both sides.
func compare(a, b map[string]string) (different int) {
	for id, row := range a {
		if b[id] != row {
			different++
		}
	}
	for id := range b {
		if _, ok := a[id]; !ok {
			different++
		}
	}
	return different
}
