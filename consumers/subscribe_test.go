package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

func subscription(t *testing.T) (*world, consumers.BrokerConfig) {
	w := &world{scripted: newScripted(map[string]int{orders: 2})}
	w.register(t, orders, placedV2, shipped)
	b := consumers.BrokerConfig{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	b.SetBroker(w, w)
	return w, b
}

func TestSubscribeDeliversInOrderAndRetries(t *testing.T) {
	w, b := subscription(t)
	w.fill(t, 60, make(truth))
	w.publish(t, broker.Partition{Topic: orders}, "s", OrderShipped{N: 4})
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	got := make(map[int][]int64)
	tries := make(map[int64]int)
	done := make(chan error, 1)
	go func() {
		done <- consumers.SubscribeWith(ctx, b, "mailer", []string{"order"}, func(_ context.Context, m consumers.Message) error {
			mu.Lock()
			defer mu.Unlock()
			if m.AggregateType != "order" {
				return fmt.Errorf("aggregate type %q", m.AggregateType)
			}
			if m.Type != "OrderPlaced" {
				return nil
			}
			var e OrderPlaced
			if err := m.Decode(&e); err != nil {
				return err
			}
			switch tries[e.N]++; {
			case e.N == 10 && tries[e.N] == 1:
				panic("first try")
			case e.N == 10 && tries[e.N] <= 5:
				return errHandler
			case e.N == 11 && tries[e.N] == 1:
				return consumers.RetryAfter(7*time.Second, errHandler)
			case e.N == 12:
				return consumers.Discard(errHandler)
			}
			got[m.Partition] = append(got[m.Partition], e.N)
			return nil
		}, w.pauses.sleep)
	}()
	pgtest.Eventually(t, patience, func() bool {
		return w.ackedOf(broker.Partition{Topic: orders}, "mailer") == 31 && w.ackedOf(broker.Partition{Topic: orders, Index: 1}, "mailer") == 30
	}, "all is acknowledged")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for partition, ns := range got {
		want := int64(partition)
		for _, n := range ns {
			if want == 12 {
				want += 2
			}
			if n != want {
				t.Fatalf("partition %d: %v", partition, ns)
			}
			want += 2
		}
	}
	total := make(map[time.Duration]int)
	for _, d := range w.pauses.seen() {
		total[d]++
	}
	if fmt.Sprint(total) != "map[0s:2 1s:1 7s:1 10s:1 1m0s:1]" {
		t.Errorf("pauses %v", total)
	}
}

// While the handler has a message, only those before it are acknowledged.
func TestSubscribeAcknowledgesHandledMessages(t *testing.T) {
	w, b := subscription(t)
	w.fill(t, 40, make(truth))
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	handled := make(map[int]int)
	err := consumers.Subscribe(ctx, b, "mailer", []string{orders}, func(_ context.Context, m consumers.Message) error {
		mu.Lock()
		defer mu.Unlock()
		of := broker.Partition{Topic: orders, Index: m.Partition}
		if acked := w.ackedOf(of, "mailer"); acked > handled[m.Partition] {
			t.Errorf("%s: %d are acknowledged, %d are handled", of, acked, handled[m.Partition])
		}
		handled[m.Partition]++
		if handled[0]+handled[1] == 40 {
			cancel()
		}
		return nil
	})
	if err != nil || handled[0]+handled[1] != 40 {
		t.Errorf("%v messages: %v", handled, err)
	}
}

// What was not acknowledged comes again.
func TestSubscribeDeliversAtLeastOnce(t *testing.T) {
	w, b := subscription(t)
	w.fill(t, 4, make(truth))
	w.change(func() { w.dropAcks = true })
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		n := 0
		err := consumers.Subscribe(ctx, b, "mailer", []string{orders}, func(context.Context, consumers.Message) error {
			mu.Lock()
			defer mu.Unlock()
			if n++; n == 4 {
				cancel()
			}
			return nil
		})
		if err != nil || n != 4 {
			t.Errorf("%d messages: %v", n, err)
		}
	}
}

func TestSubscribeChecksItsInput(t *testing.T) {
	_, b := subscription(t)
	h := func(context.Context, consumers.Message) error { return nil }
	for word, err := range map[string]error{
		"name":       consumers.Subscribe(t.Context(), b, "", []string{"order"}, h),
		"topics":     consumers.Subscribe(t.Context(), b, "a", nil, h),
		"handler":    consumers.Subscribe(t.Context(), b, "a", []string{"order"}, nil),
		"Topics":     consumers.Subscribe(t.Context(), b, "a", []string{"a b"}, h),
		"Broker.URL": consumers.Subscribe(t.Context(), consumers.BrokerConfig{URL: "x"}, "a", []string{"order"}, h),
	} {
		requireFault(t, err, consumers.ErrConfig, word)
	}
}

func TestSubscribeStopsAtForeignMessages(t *testing.T) {
	w, b := subscription(t)
	of := broker.Partition{Topic: orders}
	m := w.message(t, of, "a", OrderPlaced{})
	delete(m.Properties, "position")
	w.append(of, m)
	err := consumers.Subscribe(t.Context(), b, "a", []string{"order"}, func(context.Context, consumers.Message) error {
		return errors.New("a handler saw it")
	})
	requireFault(t, err, consumers.ErrForeignMessage)
}
