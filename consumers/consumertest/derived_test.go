package consumertest_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/consumers/consumertest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/outbox/outboxtest"
)

// packing publishes a parcel for each order that is placed.
func packing(fails func(OrderPlaced) error) func(*consumers.Projection) {
	return func(p *consumers.Projection) {
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
			if err := note(ctx, tx, e); err != nil {
				return err
			}
			parcel := outbox.Event{AggregateID: e.AggregateID, Payload: ParcelPacked{body{e.Payload.N, "packed " + e.Payload.Note}}}
			if _, err := outbox.Publish(ctx, tx, parcel); err != nil {
				return err
			}
			return fails(e.Payload)
		})
	}
}

func packed(id string, n int64, note string, headers map[string]string) outbox.Event {
	return outbox.Event{AggregateID: id, Payload: ParcelPacked{body{n, "packed " + note}}, Headers: headers}
}

func never(OrderPlaced) error { return nil }

// A handler that publishes does so in its transaction, whatever the search path:
// once for each event, through crashes; what it publishes says what caused it.
func TestPublishingFromAHandler(t *testing.T) {
	onEach(t, func(t *testing.T, db consumertest.DB) {
		migrate(t, db)
		h := consumertest.New(t, db, orders(consumers.Retry{}, packing(never)))
		h.RequirePublished()
		const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		first, second := placed("o-1", 1, "shoes"), placed("o-1", 2, "laces")
		first.ID, second.ID = uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057"), uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8058")
		second.Headers = map[string]string{"correlationid": "checkout-7", "causationid": "the cart", "traceparent": trace, "tenant": "blue"}
		h.Crash()
		h.Given(first, second)
		h.Apply()
		h.RequireRows("select notes from orders", "shoes, laces")
		h.RequirePublished(
			packed("o-1", 1, "shoes", map[string]string{"correlationid": first.ID.String(), "causationid": first.ID.String()}),
			packed("o-1", 2, "laces", map[string]string{"correlationid": "checkout-7", "causationid": second.ID.String(), "traceparent": trace}))
		for i, e := range h.Published() {
			if want := 2 + i; len(e.Headers) != want { // no traceparent for the first, and never the tenant
				t.Errorf("%d headers: %v", len(e.Headers), e.Headers)
			}
		}
	})
}

// migrate makes an outbox, in the test's transaction where it has one.
func migrate(t *testing.T, db consumertest.DB) {
	t.Helper()
	tx, ok := db.(pgx.Tx)
	if !ok {
		c, err := db.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Rollback(t.Context()) }()
		outboxtest.Migrate(t, pgtest.Conn(t, c.Conn().Config().ConnString()), ParcelPacked{})
		return
	}
	outboxtest.Migrate(t, pgtest.Conn(t, tx.Conn().Config().ConnString()), ParcelPacked{})
}

// An event that fails has published nothing, when it is tried again, parked or
// discarded, nor has one that waits behind it.
func TestFailedHandlerPublishesNothing(t *testing.T) {
	pool := pgtest.New(t).Pool(t)
	outboxtest.Migrate(t, pool, ParcelPacked{})
	broken := true
	h := consumertest.New(t, pool, orders(consumers.Retry{}, packing(func(e OrderPlaced) error {
		switch {
		case broken && e.N == 1:
			return errBusy
		case e.N == 3:
			return consumers.Discard(errBusy)
		}
		return nil
	})))
	h.Given(placed("o-1", 1, "shoes"), placed("o-1", 2, "laces"), placed("o-2", 3, "a hat"), placed("o-3", 4, "a coat"))
	h.Advance(24 * time.Hour)
	h.RequireParked("OrderPlaced o-1 parked", "OrderPlaced o-1 behind")
	h.RequireDiscarded("OrderPlaced o-2")
	h.RequirePublished(packed("o-3", 4, "a coat", nil))
	broken = false
	h.RetryParked(consumers.ParkedFilter{})
	h.Apply()
	h.RequireParked()
	h.RequirePublished(packed("o-3", 4, "a coat", nil), packed("o-1", 1, "shoes", nil), packed("o-1", 2, "laces", nil))
}

// An event type that the outbox does not admit fails its event, as any error does.
func TestPublishingAnUnknownType(t *testing.T) {
	pool := pgtest.New(t).Pool(t)
	outboxtest.Migrate(t, pool, ParcelSent{})
	h := consumertest.New(t, pool, orders(consumers.Retry{}, packing(never)))
	h.Given(placed("o-1", 1, "shoes"))
	h.Apply()
	if all := h.Parked(); len(all) != 1 || all[0].Code != outbox.ErrSchemaNotApplied.ID {
		t.Errorf("%+v", all)
	}
	h.RequirePublished()
}

// The context of HandleBatch is of no single message, so it publishes with those of
// each.
func TestPublishingFromABatch(t *testing.T) {
	pool := pgtest.New(t).Pool(t)
	outboxtest.Migrate(t, pool)
	h := consumertest.New(t, pool, func(cfg consumers.Config) (*consumers.Projection, error) {
		cfg.Name, cfg.Topics = "orders", []string{"order"}
		p, err := consumers.New(cfg)
		if err != nil {
			return nil, err
		}
		consumers.HandleBatch(p, func(ctx context.Context, tx pgx.Tx, all []consumers.Message) error {
			for _, m := range all {
				var e OrderPlaced
				if err := m.Decode(&e); err != nil {
					return err
				}
				if _, err := outbox.Publish(m.Context(ctx), tx, packed(m.AggregateID, e.N, e.Note, nil)); err != nil {
					return err
				}
			}
			if _, err := outbox.Publish(ctx, tx, packed("all", int64(len(all)), "", nil)); err != nil {
				return err
			}
			return nil
		})
		return p, nil
	})
	one, two := placed("o-1", 1, "shoes"), placed("o-2", 2, "a hat")
	one.Headers, two.Headers = map[string]string{"correlationid": "a"}, map[string]string{"correlationid": "b"}
	h.GivenOn("order", one, two)
	h.Apply()
	sum := 0
	for _, e := range h.Published() {
		if e.AggregateID == "all" {
			sum += int(outboxtest.Decode[ParcelPacked](t, e).N)
			if len(e.Headers) != 0 {
				t.Errorf("headers %v", e.Headers)
			}
		} else if want := map[string]string{"o-1": "a", "o-2": "b"}[e.AggregateID]; e.Headers["correlationid"] != want || e.Headers["causationid"] == "" {
			t.Errorf("%s has headers %v", e.AggregateID, e.Headers)
		}
	}
	if sum != 2 {
		t.Errorf("%d messages", sum)
	}
}
