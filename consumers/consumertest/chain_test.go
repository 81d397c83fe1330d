package consumertest_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/consumers/consumertest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/outbox/outboxtest"
	"github.com/runnel-cdc/runnel/schemas"
)

// link is a service in a chain: what it is given, it keeps, numbers per aggregate
// and publishes as another event.
func link[In schemas.Payload](name string, clock func() time.Time, next func(n int64, note string) schemas.Payload, read func(In) body) func(consumers.Config) (*consumers.Projection, error) {
	return func(cfg consumers.Config) (*consumers.Projection, error) {
		cfg.Name = name
		cfg.Migrate = func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "create table seen (id text primary key, n bigint not null, notes text not null)")
			return err
		}
		p, err := consumers.New(cfg)
		if err != nil {
			return nil, err
		}
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[In]) error {
			got := read(e.Payload)
			var n int64
			err := tx.QueryRow(ctx, `insert into seen values ($1, 1, $2) on conflict (id) do update
				set n = seen.n + 1, notes = seen.notes || '|' || $2 returning n`, e.AggregateID, got.Note).Scan(&n)
			if err != nil {
				return err
			}
			if n != got.N {
				return fmt.Errorf("aggregate %s: the event says it is number %d, and %d were seen", e.AggregateID, got.N, n-1)
			}
			if next != nil {
				// Its own clock, so that nothing here depends on when a run was.
				_, err = outbox.Publish(ctx, tx, outbox.Event{AggregateID: e.AggregateID, Payload: next(n, got.Note), OccurredAt: clock()})
			}
			return err
		})
		return p, nil
	}
}

// A chain of three, each with a database of its own: orders are placed in A, B packs
// and publishes, C sends and publishes, D keeps a copy. B, C and D are killed at
// random before commits and acknowledgements. Every event is in every outbox and
// every copy once, in the order of its aggregate, and names what caused it.
func TestChainOfThree(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { chain(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func chain(t *testing.T, random *rand.Rand) {
	clock := consumertest.NewClock()
	options := []consumertest.Option{consumertest.WithClock(clock), consumertest.WithPartitions(3)}
	pools := make([]*pgxpool.Pool, 4)
	for i := range pools {
		pools[i] = pgtest.New(t).Pool(t)
	}
	outboxtest.Migrate(t, pools[0], OrderPlaced{})
	outboxtest.Migrate(t, pools[1], ParcelPacked{})
	outboxtest.Migrate(t, pools[2], ParcelSent{})
	a := outboxtest.Since(t, pools[0])
	b := consumertest.New(t, pools[1], link("packing", clock.Now, func(n int64, note string) schemas.Payload {
		return ParcelPacked{body{n, note}}
	}, func(e OrderPlaced) body { return e.body }), options...)
	c := consumertest.New(t, pools[2], link("sending", clock.Now, func(n int64, note string) schemas.Payload {
		return ParcelSent{body{n, note}}
	}, func(e ParcelPacked) body { return e.body }), options...)
	d := consumertest.New(t, pools[3], link("tracking", clock.Now, nil, func(e ParcelSent) body { return e.body }), options...)

	deaths := make(map[consumertest.Moment]int)
	for _, h := range []*consumertest.Harness{b, c, d} {
		h.CrashWhen(func(at consumertest.Moment) bool {
			dies := random.IntN(3) == 0
			if dies {
				deaths[at]++
			}
			return dies
		})
	}
	// Between two services, the daemon: what has committed and was not given yet.
	given := make(map[*consumertest.Harness]int)
	carry := func(committed []outbox.Event, to *consumertest.Harness) {
		committed = committed[given[to]:]
		committed = committed[:random.IntN(len(committed)+1)]
		to.Given(committed...)
		given[to] += len(committed)
		to.Apply()
		clock.Advance(time.Second)
	}
	want := make(map[string]string)
	counts := make(map[string]int64)
	for i := range 60 {
		id, text := fmt.Sprint("o-", random.IntN(6)), fmt.Sprint("note ", i)
		err := pgx.BeginFunc(t.Context(), pools[0], func(tx pgx.Tx) error {
			ctx := outbox.WithCorrelation(t.Context(), "checkout-"+text, "")
			_, err := outbox.Publish(ctx, tx, placed(id, counts[id]+1, text))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		counts[id]++
		if want[id] != "" {
			want[id] += "|"
		}
		want[id] += text
		if i%10 == 9 {
			carry(outboxtest.Published(t, a), b)
			carry(b.Published(), c)
			carry(c.Published(), d)
		}
	}
	for given[d] < 60 {
		carry(outboxtest.Published(t, a), b)
		carry(b.Published(), c)
		carry(c.Published(), d)
	}

	for i, h := range []*consumertest.Harness{b, c, d} {
		h.RequireParked()
		got := make(map[string]string)
		for id := range want {
			got[id] = h.Rows("select notes from seen where id = '" + id + "'")[0]
		}
		if !maps.Equal(got, want) {
			t.Errorf("service %d has %v, want %v", i+1, got, want)
		}
	}
	requireCaused(t, outboxtest.Published(t, a), b.Published())
	requireCaused(t, b.Published(), c.Published())
	t.Logf("deaths: %v", deaths)
	if deaths[consumertest.BeforeCommit] == 0 || deaths[consumertest.BeforeAck] == 0 {
		t.Errorf("too few deaths: %v", deaths)
	}
}

// requireCaused requires that each of causes has one effect, with the same payload,
// which names it and belongs to the same process.
func requireCaused(t *testing.T, causes, effects []outbox.Event) {
	t.Helper()
	if len(causes) != len(effects) {
		t.Errorf("%d events were caused by %d", len(effects), len(causes))
	}
	by := make(map[string]outbox.Event)
	ids := make(map[uuid.UUID]bool)
	for _, e := range effects {
		by[e.Headers["causationid"]] = e
		ids[e.ID] = true
	}
	if len(ids) != len(effects) {
		t.Errorf("%d events have %d ids", len(effects), len(ids))
	}
	for _, cause := range causes {
		e, found := by[cause.ID.String()]
		if !found {
			t.Errorf("%s of %s caused nothing", cause.ID, cause.AggregateID)
			continue
		}
		if e.AggregateID != cause.AggregateID || fmt.Sprint(e.Payload) != fmt.Sprint(cause.Payload) ||
			e.Headers["correlationid"] != cause.Headers["correlationid"] || cause.Headers["correlationid"] == "" {
			t.Errorf("%s %v %v caused %s %v %v", cause.AggregateID, cause.Payload, cause.Headers, e.AggregateID, e.Payload, e.Headers)
		}
	}
}
