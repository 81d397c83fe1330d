package consumers_test

import (
	"context"
	"fmt"
	"maps"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/eventctx"
	"github.com/runnel-cdc/runnel/outbox"
)

// Headers of an earlier cause do not survive in what a message causes.
func TestContextNamesTheCause(t *testing.T) {
	id := uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057")
	run := outbox.WithTraceparent(outbox.WithCorrelation(t.Context(), "of Run", "of Run"), "of Run")
	for name, tc := range map[string]struct{ headers, want map[string]string }{
		"the first of a chain": {nil, map[string]string{"correlationid": id.String(), "causationid": id.String()}},
		"in a chain": {map[string]string{"correlationid": "checkout-7", "causationid": "x", "traceparent": "00-1", "tenant": "blue"},
			map[string]string{"correlationid": "checkout-7", "causationid": id.String(), "traceparent": "00-1"}},
	} {
		got := eventctx.Headers(consumers.Message{ID: id, Headers: tc.headers}.Context(run))
		if !maps.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

// Subscribe's handlers get such a context too.
func TestSubscribersNameTheCause(t *testing.T) {
	w, b := subscription(t)
	sent := w.publish(t, broker.Partition{Topic: orders}, "o1", OrderPlaced{N: 1})
	ctx, cancel := context.WithCancel(t.Context())
	var got map[string]string
	err := consumers.Subscribe(ctx, b, "mailer", []string{"order"}, func(ctx context.Context, _ consumers.Message) error {
		got = eventctx.Headers(ctx)
		cancel()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if id := sent.Properties["id"]; got["causationid"] != id || got["correlationid"] != id || got["traceparent"] != "00-1" {
		t.Errorf("headers %v", got)
	}
}

// Each message of a batch gives the context to publish with what it causes.
func ExampleMessage_Context() {
	handler := func(ctx context.Context, tx pgx.Tx, all []consumers.Message) error {
		for _, m := range all {
			if _, err := outbox.Publish(m.Context(ctx), tx, outbox.Event{AggregateID: m.AggregateID, Payload: OrderShipped{}}); err != nil {
				return err
			}
		}
		return nil
	}
	err := handler(context.Background(), headersTx{}, []consumers.Message{{
		ID: uuid.MustParse("01890a5d-ac96-774b-bcce-b302099a8057"), AggregateID: "42",
		Headers: map[string]string{"correlationid": "checkout-7"},
	}})
	fmt.Println(err)
	// Output:
	// [{"causationid":"01890a5d-ac96-774b-bcce-b302099a8057","correlationid":"checkout-7"}]
	// <nil>
}

// headersTx stands for a transaction and prints the headers of what is published.
type headersTx struct{ pgx.Tx }

func (headersTx) Exec(_ context.Context, _ string, args ...any) (pgconn.CommandTag, error) {
	fmt.Println(args[6])
	return pgconn.CommandTag{}, nil
}
