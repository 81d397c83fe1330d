package consumers_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
)

// BenchmarkProjection compares a projection, from messages that the client has
// received to rows and position that are committed, with what one connection to
// the same Postgres does with the same rows: one prepared upsert a row in
// transactions of 100, and one upsert of 500 rows a transaction. Each operation is
// all events by either; "x" is the projection's speed in units of Postgres'.
func BenchmarkProjection(b *testing.B) {
	const events, partitions = 60_000, 4
	s := newScripted(map[string]int{orders: partitions})
	s.register(b, orders, placedV2)
	for i := range events {
		key := fmt.Sprintf("o%d", i%7000)
		s.publish(b, broker.Partition{Topic: orders, Index: i % 7000 % partitions}, key, OrderPlaced{N: int64(i), Note: "a note of some length", Amount: 12})
	}
	db := pgtest.New(b)
	db.Exec(b, "create table plain (id text primary key, n bigint, note text, amount bigint)")
	conn := db.Conn(b)
	for name, form := range map[string]struct {
		plain    func(b *testing.B, conn *pgx.Conn, events int)
		register func(*consumers.Projection)
		batch    int
	}{
		"event": {upsertRows, func(p *consumers.Projection) { consumers.Handle(p, upsertEvent) }, 100},
		"batch": {upsertSets, func(p *consumers.Projection) { consumers.HandleBatch(p, upsertBatch) }, 500},
	} {
		b.Run(name, func(b *testing.B) {
			var plain, own time.Duration
			version := 0
			for b.Loop() {
				db.Exec(b, "truncate plain")
				began := time.Now()
				form.plain(b, conn, events)
				plain += time.Since(began)

				version++
				cfg := consumers.Config{Name: fmt.Sprintf("%s_%d", name, version), Database: db.Pool(b), Topics: []string{orders}, BatchSize: form.batch,
					Migrate: func(ctx context.Context, tx pgx.Tx) error {
						_, err := tx.Exec(ctx, "create table copy (id text primary key, n bigint, note text, amount bigint)")
						return err
					}}
				cfg.Broker.SetBroker(s, s)
				own += applyAll(b, cfg, form.register, events)
			}
			b.ReportMetric(float64(plain)/float64(own), "x")
			b.ReportMetric(float64(b.N*events)/own.Seconds(), "events/s")
			b.ReportMetric(float64(b.N*events)/plain.Seconds(), "plain-rows/s")
		})
	}
}

// applyAll runs a projection until it has applied n events, and returns how long
// that took.
func applyAll(b *testing.B, cfg consumers.Config, register func(*consumers.Projection), n int64) time.Duration {
	b.Helper()
	var applied atomic.Int64
	done := make(chan struct{})
	cfg.Observer.Applied = func(consumers.Applied) {
		if applied.Add(1) == n {
			close(done)
		}
	}
	p, err := consumers.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	register(p)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- p.Run(ctx) }()
	select {
	case <-done:
	case err := <-ended:
		b.Fatal(err)
	}
	took := time.Since(began)
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	return took
}

const upsertSQL = `insert into %s values ($1, $2, $3, $4)
	on conflict (id) do update set n = excluded.n, note = excluded.note, amount = excluded.amount`

const upsertSetSQL = `insert into %s select distinct on (id) id, n, note, amount from unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[])
	with ordinality as t(id, n, note, amount, seq) order by id, seq desc
	on conflict (id) do update set n = excluded.n, note = excluded.note, amount = excluded.amount`

var (
	upsertPlain, upsertCopy       = fmt.Sprintf(upsertSQL, "plain"), fmt.Sprintf(upsertSQL, "copy")
	upsertPlainSet, upsertCopySet = fmt.Sprintf(upsertSetSQL, "plain"), fmt.Sprintf(upsertSetSQL, "copy")
)

// upsertRows upserts one row a statement, which pgx prepares, 100 a transaction.
func upsertRows(b *testing.B, conn *pgx.Conn, events int) {
	for i := 0; i < events; i += 100 {
		err := pgx.BeginFunc(b.Context(), conn, func(tx pgx.Tx) error {
			for n := i; n < min(i+100, events); n++ {
				if _, err := tx.Exec(b.Context(), upsertPlain, fmt.Sprintf("o%d", n%7000), n, "a note of some length", 12); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// upsertSets upserts 500 rows a statement, each of which is a transaction.
func upsertSets(b *testing.B, conn *pgx.Conn, events int) {
	var r rows
	for n := range events {
		r.add(fmt.Sprintf("o%d", n%7000), int64(n), "a note of some length", 12)
		if len(r.ids) == 500 || n == events-1 {
			if _, err := conn.Exec(b.Context(), upsertPlainSet, r.ids, r.ns, r.notes, r.amounts); err != nil {
				b.Fatal(err)
			}
			r = rows{}
		}
	}
}

// rows are the arrays of a set-based upsert.
type rows struct {
	ids, notes  []string
	ns, amounts []int64
}

func (r *rows) add(id string, n int64, note string, amount int64) {
	r.ids, r.ns, r.notes, r.amounts = append(r.ids, id), append(r.ns, n), append(r.notes, note), append(r.amounts, amount)
}

func upsertEvent(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
	_, err := tx.Exec(ctx, upsertCopy, e.AggregateID, e.Payload.N, e.Payload.Note, e.Payload.Amount)
	return err
}

func upsertBatch(ctx context.Context, tx pgx.Tx, all []consumers.Message) error {
	var r rows
	for i := range all {
		var e OrderPlaced
		if err := all[i].Decode(&e); err != nil {
			return err
		}
		r.add(all[i].AggregateID, e.N, e.Note, e.Amount)
	}
	_, err := tx.Exec(ctx, upsertCopySet, r.ids, r.ns, r.notes, r.amounts)
	return err
}

// BenchmarkBacklog applies a backlog that is made up as it is read, and compares the
// heap at its end with that after its first hundredth.
func BenchmarkBacklog(b *testing.B) {
	const events = 1_000_000
	s := newScripted(map[string]int{orders: 1})
	s.register(b, orders, placedV2)
	log := &backlog{Client: s, events: events,
		template: s.message(b, broker.Partition{Topic: orders}, "o1", OrderPlaced{N: 1, Note: "a note of some length"})}
	db := pgtest.New(b)
	version := 0
	for b.Loop() {
		version++
		cfg := consumers.Config{Name: fmt.Sprintf("backlog_%d", version), Database: db.Pool(b), Topics: []string{orders}, BatchSize: 500}
		cfg.Broker.SetBroker(log, s)
		var heap [100]uint64
		var seen int
		took := applyAll(b, cfg, func(p *consumers.Projection) {
			consumers.HandleBatch(p, func(_ context.Context, _ pgx.Tx, all []consumers.Message) error {
				before := seen * len(heap) / events
				if seen += len(all); seen*len(heap)/events > before && before < len(heap) {
					runtime.GC()
					var m runtime.MemStats
					runtime.ReadMemStats(&m)
					heap[before] = m.HeapAlloc
				}
				return nil
			})
		}, events)
		b.ReportMetric(float64(heap[len(heap)-1])/float64(heap[0]), "x-heap")
		b.ReportMetric(float64(heap[len(heap)-1])/(1<<20), "MiB-heap")
		b.ReportMetric(events/took.Seconds(), "events/s")
	}
}

// backlog is a broker with one partition of so many events.
type backlog struct {
	broker.Client
	template *broker.Incoming
	events   int
}

func (l *backlog) Subscribe(context.Context, broker.Partition, string) (broker.Consumer, error) {
	return &backlogConsumer{log: l}, nil
}

func (l *backlog) Close() {}

type backlogConsumer struct {
	log  *backlog
	next int
}

func (c *backlogConsumer) Receive(ctx context.Context) (*broker.Incoming, error) {
	if c.next == c.log.events {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.next++
	m := *c.log.template
	m.ID.Entry = int64(c.next)
	stamp := position.Stamp{Position: position.Position{Epoch: 1, LSN: uint64(16 * c.next)}, Ordinal: uint64(c.next)}
	m.Properties = map[string]string{"id": c.log.template.Properties["id"], "type": c.log.template.Properties["type"], position.Property: stamp.String()}
	return &m, nil
}

func (c *backlogConsumer) Ack(broker.MessageID) error { return nil }
func (c *backlogConsumer) Active() bool               { return true }
func (c *backlogConsumer) Close()                     {}
