package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/token"
	"github.com/runnel-cdc/runnel/schemas"
)

const express = "persistent://public/runnel/express"

// write publishes an event as the daemon does: in its key's partition, with an id
// of a time, which is also when the broker took it.
func (w *world) write(t testing.TB, topic, key string, p schemas.Payload, change ...func(*broker.Incoming)) *broker.Incoming {
	t.Helper()
	w.writing.Lock()
	defer w.writing.Unlock()
	n := w.partitions[topic]
	of := broker.Partition{Topic: topic, Index: int(token.KeyHash(key)) % n}
	m := w.message(t, of, key, p)
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	m.Properties["id"], m.PublishTime = id.String(), time.Now()
	for _, c := range change {
		c(m)
	}
	w.append(of, m)
	return m
}

// ago makes an event one that was written and published some time ago.
func ago(d time.Duration) func(*broker.Incoming) {
	return func(m *broker.Incoming) {
		at := time.Now().Add(-d)
		id := uuid.MustParse(m.Properties["id"])
		for i := range 6 {
			id[i] = byte(at.UnixMilli() >> (8 * (5 - i)))
		}
		m.Properties["id"], m.PublishTime = id.String(), at
	}
}

// inEpoch moves an event to another history.
func inEpoch(epoch uint32) func(*broker.Incoming) {
	return func(m *broker.Incoming) {
		s := stampIn(m)
		s.Epoch = epoch
		m.Properties[position.Property] = s.String()
	}
}

func stampIn(m *broker.Incoming) position.Stamp {
	s, err := position.ParseStamp(m.Properties[position.Property])
	if err != nil {
		panic(err)
	}
	return s
}

// tokenOf is a receipt's token: its LSN is past the events' commits.
func tokenOf(t testing.TB, events ...*broker.Incoming) string {
	t.Helper()
	last := stampIn(events[len(events)-1])
	return tokenAt(t, last.Epoch, last.LSN+8, events...)
}

func tokenAt(t testing.TB, epoch uint32, lsn uint64, events ...*broker.Incoming) string {
	t.Helper()
	of := token.Token{Epoch: epoch, LSN: lsn}
	for _, m := range events {
		of.Events = append(of.Events, token.Event{
			ID: uuid.MustParse(m.Properties["id"]), AggregateType: "order", Type: m.Properties["type"], KeyHash: token.KeyHash(m.Key),
		})
	}
	text, err := of.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// waits requires the answer of WaitFor, want nil or an error, soon.
func (w *world) waits(t *testing.T, text string, want error, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w.waitsIn(ctx, t, text, want, says...)
}

func (w *world) waitsIn(ctx context.Context, t *testing.T, text string, want error, says ...string) {
	t.Helper()
	err := consumers.WaitFor(ctx, w.db.Conn(t), "fulfilment", text)
	if !errors.Is(err, want) || want != nil && err == nil {
		t.Errorf("WaitFor: %v, want %v", err, want)
	}
	for _, s := range says {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("WaitFor: %v, want it to say %q", err, s)
		}
	}
}

// waitsInVain requires that WaitFor is still waiting when its context ends.
func (w *world) waitsInVain(t *testing.T, text string, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	w.waitsIn(ctx, t, text, consumers.ErrNotApplied, says...)
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w.waitsIn(ctx, t, text, context.DeadlineExceeded)
}

// started is start, and waits until the database knows the projection as it was
// given.
func (w *world) started(t *testing.T, cfg consumers.Config, register func(*consumers.Projection)) *running {
	t.Helper()
	r := start(t, cfg, register)
	pgtest.Eventually(t, patience, func() bool { return len(r.Status()) > 0 }, "the projection to be set up")
	return r
}

// waiting is config of a projection that keeps ids.
func (w *world) waiting(t *testing.T) consumers.Config {
	cfg := w.config(t)
	cfg.WaitWindow = 10 * time.Minute
	return cfg
}

// Right after a restart, what was applied before is known, and what was not yet is
// waited for, with words that say what is missing.
func TestWaitForAcrossRestart(t *testing.T) {
	w := newWorld(t, 3)
	r := w.started(t, w.waiting(t), handleFold)
	first := tokenOf(t, w.write(t, orders, "a", OrderPlaced{N: 1}))
	w.waits(t, first, nil)
	r.stop(t)
	second := w.write(t, orders, "a", OrderPlaced{N: 2})
	other := w.write(t, orders, "elsewhere", OrderPlaced{N: 3})
	w.waits(t, first, nil)
	at := fmt.Sprintf("partition %d of order is at epoch 1, LSN 0000000000000010", token.KeyHash("a")%3)
	w.waitsInVain(t, tokenOf(t, second), second.Properties["id"], at, "the token says epoch 1, LSN 0000000000000028")
	w.waitsInVain(t, tokenOf(t, second, other), "nor are 1 others")
	r = w.started(t, w.waiting(t), handleFold)
	w.waits(t, tokenOf(t, second, other), nil)
	r.stop(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	w.waitsIn(ended, t, first, context.Canceled)
}

// A token of many events, which lie in all partitions of two topics that see no
// others: all are applied when it is answered.
func TestWaitForManyEvents(t *testing.T) {
	w := newWorld(t, 4)
	w.partitions[express] = 3
	w.register(t, express, placedV2, shipped)
	cfg := w.waiting(t)
	cfg.Topics = []string{"order", "express"}
	r := w.started(t, cfg, handleFold)
	conn := w.db.Conn(t)
	for round := range 5 {
		var all []*broker.Incoming
		for i := range token.MaxEvents {
			all = append(all, w.write(t, []string{orders, express}[i%2], fmt.Sprintf("o%d-%d", round, i), OrderPlaced{N: int64(i)}))
		}
		w.waits(t, tokenOf(t, all...), nil)
		var n int
		if err := conn.QueryRow(t.Context(), "select count(*) from fulfilment.fold").Scan(&n); err != nil || n != (round+1)*token.MaxEvents {
			t.Errorf("%d are in the copy: %v", n, err)
		}
	}
	r.stop(t)
}

// Events that were put aside are reported, also where the position is past them;
// when they were applied or discarded after all, they are there.
func TestWaitForParked(t *testing.T) {
	for _, window := range []time.Duration{0, time.Minute} {
		t.Run(fmt.Sprintf("window %v", window), func(t *testing.T) {
			w := newWorld(t, 1)
			cfg := w.config(t)
			cfg.Retry, cfg.WaitWindow = soon, window
			var f failing
			f.set(func(e OrderPlaced) error {
				if e.N == 1 {
					return errHandler
				}
				return nil
			})
			r := w.started(t, cfg, f.register)
			first := tokenOf(t, w.write(t, orders, "a", OrderPlaced{N: 1}))
			behind := tokenOf(t, w.write(t, orders, "a", OrderPlaced{N: 2}))
			gone := w.write(t, orders, "a", OrderPlaced{N: 3})
			w.write(t, orders, "b", OrderPlaced{N: 4})
			w.appliedAll(t)
			pgtest.Eventually(t, patience, func() bool { all := w.parked(t); return len(all) == 3 && all[0].State == "parked" }, "parked")
			w.waits(t, first, consumers.ErrParked, "is parked")
			w.waits(t, behind, consumers.ErrParked, "is behind")
			w.waits(t, tokenOf(t, gone), consumers.ErrParked)
			id := uuid.MustParse(gone.Properties["id"])
			if _, err := consumers.DiscardParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{ID: id}); err != nil {
				t.Fatal(err)
			}
			w.waits(t, tokenOf(t, gone), nil)
			f.set(nil)
			if _, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); err != nil {
				t.Fatal(err)
			}
			w.unparked(t)
			w.waits(t, first, nil)
			w.waits(t, behind, nil)
			r.stop(t)
		})
	}
}

// An event that waits for its next try is put aside, too.
func TestWaitForRetrying(t *testing.T) {
	w := newWorld(t, 1)
	cfg := w.waiting(t)
	cfg.Retry = consumers.Retry{Immediate: 1, Delays: []time.Duration{time.Hour}}
	var f failing
	f.set(only(1))
	w.started(t, cfg, f.register)
	m := w.write(t, orders, "a", OrderPlaced{N: 1})
	w.appliedAll(t)
	w.waits(t, tokenOf(t, m), consumers.ErrParked, "is retrying")
}

// The id of an event that was parked before there was a window, or longer than it
// is, is kept from the time when it was applied.
func TestWaitForRedrivenLater(t *testing.T) {
	w := newWorld(t, 1)
	cfg := w.config(t)
	cfg.Retry = soon
	var f failing
	f.set(only(1))
	r := w.started(t, cfg, f.register)
	m := w.write(t, orders, "a", OrderPlaced{N: 1}, ago(time.Hour))
	w.appliedAll(t)
	r.stop(t)
	f.set(nil)
	cfg.WaitWindow = time.Minute
	r = w.started(t, cfg, f.register)
	if _, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); err != nil {
		t.Fatal(err)
	}
	w.unparked(t)
	w.waits(t, tokenAt(t, 0, 0, m), nil)
	r.stop(t)
}

// A malformed token, one of other events, and projections that do not exist.
func TestWaitForForeign(t *testing.T) {
	w := newWorld(t, 2)
	placed := w.write(t, orders, "a", OrderPlaced{N: 1})
	noted := w.write(t, orders, "b", OrderPlaced{N: 2}, func(m *broker.Incoming) { m.Properties["type"] = "OrderNoted" })
	w.waits(t, tokenOf(t, placed), consumers.ErrTokenForeign, `no projection "fulfilment"`) // nor any table
	r := w.started(t, w.waiting(t), handleFold)
	w.waits(t, tokenOf(t, placed), nil)
	w.waits(t, tokenOf(t, noted), consumers.ErrTokenForeign, "no handler for OrderNoted")
	w.waits(t, tokenOf(t, placed, noted), nil)
	w.waits(t, tokenOf(t, placed)[1:], consumers.ErrTokenMalformed)
	w.waits(t, "", consumers.ErrTokenMalformed)
	broken, err := token.Token{Epoch: 1, LSN: 1, Events: []token.Event{{Type: "Order\x00"}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.waits(t, broken, consumers.ErrTokenMalformed)
	if err := consumers.WaitFor(t.Context(), w.db.Conn(t), "billing", tokenOf(t, placed)); !errors.Is(err, consumers.ErrTokenForeign) {
		t.Errorf("another projection: %v", err)
	}
	nothing, err := token.Token{Epoch: 1, LSN: 1}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.waits(t, nothing, nil)
	r.stop(t)
}

// Without a window a position proves it where later events followed; elsewhere the
// answer comes at once.
func TestWaitForWithoutWindow(t *testing.T) {
	w := newWorld(t, 1)
	r := w.started(t, w.config(t), handleFold)
	quiet := w.write(t, orders, "a", OrderPlaced{N: 1})
	w.appliedAll(t)
	w.waits(t, tokenOf(t, quiet), consumers.ErrNoWaiting, "partition 0 of order is at epoch 1")
	w.write(t, orders, "b", OrderPlaced{N: 2})
	w.appliedAll(t)
	w.waits(t, tokenOf(t, quiet), nil)
	w.waits(t, tokenAt(t, 0, 0, quiet), consumers.ErrNoWaiting, "the token says no position")
	if n := pgtest.Value[int64](t, w.db, "select count(*) from runnel_projections.passed"); n != 0 {
		t.Errorf("%d ids are kept", n)
	}
	r.stop(t)
}

// A position proves an event only where all topics of the projection are past it,
// and only topics whose number of partitions is known.
func TestWaitForInEveryTopic(t *testing.T) {
	w := newWorld(t, 1)
	w.register(t, express, placedV2, shipped)
	cfg := w.config(t)
	cfg.Topics = []string{"order", "express"}
	p, err := consumers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	handleFold(p)
	p.SetSleep(func(ctx context.Context, _ time.Duration) error { return consumers.Sleep(ctx, time.Millisecond) })
	r := startProjection(t, p)
	m := tokenOf(t, w.write(t, orders, "a", OrderPlaced{N: 1}))
	w.write(t, orders, "b", OrderPlaced{N: 2})
	w.appliedAll(t)
	w.waits(t, m, consumers.ErrNoWaiting, "topic express was not found yet")
	w.change(func() { w.partitions[express] = 2 })
	pgtest.Eventually(t, patience, func() bool {
		return pgtest.Value[bool](t, w.db, "select bool_and(partitions is not null) from runnel_projections.topic")
	}, "the topic to be found")
	w.waits(t, m, consumers.ErrNoWaiting, "of express had no event")
	w.write(t, express, "a", OrderPlaced{N: 2})
	of := int(token.KeyHash("a")) % 2
	pgtest.Eventually(t, patience, func() bool {
		return pgtest.Value[bool](t, w.db, "select exists (select from runnel_projections.position where topic = $1 and partition = $2)", express, of)
	}, "the event to be applied")
	w.waits(t, m, nil)
	r.stop(t)
}

// Where one handler takes all types, only a topic called after the aggregate type
// is taken to hold the event.
func TestWaitForInBatches(t *testing.T) {
	w := newWorld(t, 1)
	cfg := w.config(t)
	cfg.Topics = []string{"order"}
	r := w.started(t, cfg, func(p *consumers.Projection) {
		consumers.HandleBatch(p, func(context.Context, pgx.Tx, []consumers.Message) error { return nil })
	})
	m := w.write(t, orders, "a", OrderPlaced{N: 1})
	w.write(t, orders, "b", OrderPlaced{N: 2})
	w.appliedAll(t)
	w.waits(t, tokenOf(t, m), nil)
	other, err := token.Token{Epoch: 1, LSN: 1, Events: []token.Event{{ID: uuid.New(), AggregateType: "customer", Type: "CustomerMoved"}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.waits(t, other, consumers.ErrNoWaiting)
	r.stop(t)
}

// Rows that were there before the daemon's first start share one LSN, which may be
// past the token of an event among them that is not applied yet.
func TestWaitForInTheFirstSnapshot(t *testing.T) {
	w := newWorld(t, 1)
	r := w.started(t, w.config(t), handleFold)
	point := uint64(1 << 20)
	snapshot := func(index uint32) func(*broker.Incoming) {
		return func(m *broker.Incoming) {
			s := stampIn(m)
			s.LSN, s.Index = point-1, index
			m.Properties[position.Property] = s.String()
		}
	}
	w.write(t, orders, "a", OrderPlaced{N: 1}, snapshot(0))
	w.appliedAll(t)
	later := w.message(t, broker.Partition{Topic: orders}, "b", OrderPlaced{N: 2})
	snapshot(1)(later)
	text := tokenAt(t, 1, point-800, later)
	w.waits(t, text, consumers.ErrNoWaiting)
	w.append(later.Partition, later)
	w.appliedAll(t)
	w.waits(t, text, consumers.ErrNoWaiting)
	w.write(t, orders, "c", OrderPlaced{N: 3}, func(m *broker.Incoming) {
		s := stampIn(m)
		s.LSN = point + 8
		m.Properties[position.Property] = s.String()
	})
	w.appliedAll(t)
	w.waits(t, text, nil)
	r.stop(t)
}
