package consumertest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/consumers/consumertest"
	"github.com/runnel-cdc/runnel/internal/faketb"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// onEach runs a test on each kind of database that New takes.
func onEach(t *testing.T, f func(*testing.T, consumertest.DB)) {
	t.Run("pool", func(t *testing.T) { f(t, pgtest.New(t).Pool(t)) })
	t.Run("connection", func(t *testing.T) { f(t, pgtest.New(t).Conn(t)) })
	t.Run("transaction", func(t *testing.T) { f(t, begin(t, pgtest.New(t))) })
}

// begin begins a transaction that is rolled back when the test ends, with its connection:
// by itself it might be in use still, by a test that was given up.
func begin(t testing.TB, db *pgtest.DB) pgx.Tx {
	t.Helper()
	tx, err := db.Conn(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func TestGivenAppliedRows(t *testing.T) {
	onEach(t, func(t *testing.T, db consumertest.DB) {
		h := consumertest.New(t, db, orders(consumers.Retry{}, handleNote))
		h.Given(placed("o-1", 1, "shoes"), placed("o-2", 2, "a hat"), shipped("o-1", 1), placed("o-1", 3, "laces"))
		h.RequireParked()
		h.Apply()
		h.RequireRows("select id, notes, applied, applied > 1, null from orders order by id",
			"o-1 | shoes, laces | 2 | true | null",
			"o-2 | a hat | 1 | false | null")
		h.Given(placed("o-2", 4, "a scarf"))
		h.Apply()
		h.Apply()
		h.RequireRows("select id, notes from orders order by id", "o-1 | shoes, laces", "o-2 | a hat, a scarf")
	})
}

// What a message says follows from the event and the clock.
func TestMessages(t *testing.T) {
	var got []consumers.Message
	h := consumertest.New(t, pgtest.New(t).Pool(t), orders(consumers.Retry{}, func(p *consumers.Projection) {
		consumers.Handle(p, func(_ context.Context, _ pgx.Tx, e consumers.Event[OrderPlaced]) error {
			got = append(got, e.Message)
			return nil
		})
	}))
	h.Given(placed("o-1", 1, ""))
	h.Clock().Advance(time.Minute)
	later := placed("o-1", 2, "")
	later.OccurredAt = consumertest.Start.Add(time.Second)
	later.Headers = map[string]string{"tenant": "blue"}
	h.Given(later)
	h.Apply()
	if len(got) != 2 {
		t.Fatalf("%d messages", len(got))
	}
	first, second := got[0], got[1]
	if !first.OccurredAt.Equal(consumertest.Start) || !first.PublishedAt.Equal(consumertest.Start) || first.Ordinal != 1 || first.AggregateType != "order" {
		t.Errorf("%+v", first)
	}
	if !second.OccurredAt.Equal(later.OccurredAt) || !second.PublishedAt.Equal(h.Now()) || second.Ordinal != 2 || second.Headers["tenant"] != "blue" ||
		!first.Position.Less(second.Position) || first.ID == second.ID || second.Topic != "persistent://public/runnel/order" {
		t.Errorf("%+v", second)
	}
}

// Events of an earlier version of their type are read as the handler's.
func TestOlderVersion(t *testing.T) {
	h := consumertest.New(t, pgtest.New(t).Pool(t), orders(consumers.Retry{}, handleNote))
	old := placed("o-1", 1, "")
	old.Payload = OrderPlacedOld{1}
	h.Given(old, placed("o-1", 2, "new"), old)
	h.Apply()
	h.RequireRows("select notes from orders", "none, new, none")
}

var errBusy = errors.New("the warehouse is busy")

// refusing is a handler that fails a number of times.
func refusing(times int64, err error) (*atomic.Int64, func(*consumers.Projection)) {
	var left atomic.Int64
	left.Store(times)
	return &left, func(p *consumers.Projection) {
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
			if err := note(ctx, tx, e); err != nil {
				return err
			}
			if e.AggregateID == "o-1" && left.Add(-1) >= 0 {
				return err
			}
			return nil
		})
	}
}

// Retries come when the clock says so, and not before.
func TestRetriesByTheClock(t *testing.T) {
	onEach(t, func(t *testing.T, db consumertest.DB) {
		left, register := refusing(1000, errBusy)
		h := consumertest.New(t, db, orders(consumers.Retry{Immediate: 2, Delays: []time.Duration{time.Second, time.Minute, time.Hour}}, register))
		h.Given(placed("o-1", 1, "shoes"), placed("o-2", 2, "a hat"), placed("o-1", 3, "laces"))
		h.Apply()
		h.RequireParked("OrderPlaced o-1 retrying", "OrderPlaced o-1 behind")
		h.RequireRows("select id from orders", "o-2")
		if next := h.Parked()[0].NextTry; !next.Equal(consumertest.Start.Add(time.Second)) {
			t.Errorf("next try at %s", next)
		}
		h.Advance(999 * time.Millisecond)
		if tries := h.Parked()[0].Tries; tries != 2 {
			t.Errorf("%d tries before it was due", tries)
		}
		h.Advance(time.Minute) // the tries at 1 s and at 61 s
		if e := h.Parked()[0]; e.Tries != 3 || !e.NextTry.Equal(consumertest.Start.Add(61*time.Second)) {
			t.Errorf("after a minute: %d tries, next at %s", e.Tries, e.NextTry)
		}
		left.Store(0)
		h.Advance(2 * time.Hour)
		h.RequireParked()
		h.RequireRows("select id, notes from orders order by id", "o-1 | shoes, laces", "o-2 | a hat")
		if now := h.Now(); !now.Equal(consumertest.Start.Add(2*time.Hour + time.Minute + 999*time.Millisecond)) {
			t.Errorf("it is %s", now)
		}
	})
}

// What is parked waits for a person, whom the test plays.
func TestParkedAndRetried(t *testing.T) {
	onEach(t, func(t *testing.T, db consumertest.DB) {
		left, register := refusing(1000, errBusy)
		h := consumertest.New(t, db, orders(consumers.Retry{}, register))
		h.Given(placed("o-1", 1, "shoes"), placed("o-1", 2, "laces"))
		h.Advance(48 * time.Hour)
		h.RequireParked("OrderPlaced o-1 parked", "OrderPlaced o-1 behind")
		if e := h.Parked()[0]; e.Error != errBusy.Error() || e.Tries != 6 || !e.ParkedAt.Equal(consumertest.Start) {
			t.Errorf("%+v", e)
		}
		left.Store(0)
		h.Apply()
		h.RequireParked("OrderPlaced o-1 parked", "OrderPlaced o-1 behind")
		if keys := h.RetryParked(consumers.ParkedFilter{Key: "o-1"}); keys != 1 {
			t.Errorf("%d keys are due", keys)
		}
		h.Apply()
		h.RequireParked()
		h.RequireRows("select notes from orders", "shoes, laces")
	})
}

// What waited behind an event that a person discards has its turn at once.
func TestParkedAndDiscarded(t *testing.T) {
	onEach(t, func(t *testing.T, db consumertest.DB) {
		left, register := refusing(1000, errBusy)
		h := consumertest.New(t, db, orders(consumers.Retry{}, register))
		h.Given(placed("o-1", 1, "shoes"), placed("o-1", 2, "laces"))
		h.Advance(time.Hour)
		left.Store(0)
		if n := h.DiscardParked(consumers.ParkedFilter{ID: h.Parked()[0].Message.ID}); n != 1 {
			t.Errorf("%d events were discarded", n)
		}
		h.Apply()
		h.RequireParked()
		h.RequireRows("select notes from orders", "laces")
	})
}

func TestDiscarded(t *testing.T) {
	h := consumertest.New(t, pgtest.New(t).Pool(t), orders(consumers.Retry{}, func(p *consumers.Projection) {
		consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
			if e.Payload.Note == "shoes" {
				return consumers.Discard(errBusy)
			}
			return note(ctx, tx, e)
		})
	}))
	h.Crash()
	h.Given(placed("o-1", 1, "shoes"), placed("o-1", 2, "laces"))
	h.Apply()
	h.RequireParked()
	if all := h.Discarded(); len(all) != 1 || all[0].Message.AggregateID != "o-1" || !errors.Is(all[0].Err, errBusy) {
		t.Errorf("%v", all)
	}
	h.RequireRows("select notes from orders", "laces")
}

// A crash before the commit calls handlers again, one before the acknowledgement
// does not; in either case the rows are those of no crash.
func TestCrashes(t *testing.T) {
	for name, at := range map[string][]consumertest.Moment{
		"commit": {consumertest.BeforeCommit}, "acknowledgement": {consumertest.BeforeAck}, "both": nil,
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, db consumertest.DB) {
				var calls atomic.Int64
				h := consumertest.New(t, db, orders(consumers.Retry{}, func(p *consumers.Projection) {
					consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
						calls.Add(1) // a trace outside of the transaction
						return note(ctx, tx, e)
					})
				}))
				h.Crash(at...)
				h.Given(placed("o-1", 1, "a"), placed("o-2", 2, "b"))
				h.Apply()
				h.Given(placed("o-1", 3, "c"))
				h.Apply()
				h.RequireRows("select id, notes, applied from orders order by id", "o-1 | a, c | 2", "o-2 | b | 1")
				want := int64(6)
				if len(at) == 1 && at[0] == consumertest.BeforeAck {
					want = 3
				}
				if n := calls.Load(); n < want || want == 3 && n != 3 {
					t.Errorf("the handler was called %d times, want %d", n, want)
				}
			})
		})
	}
}

// Partitions run concurrently, and each key keeps its order, through crashes and
// retries too.
func TestPartitions(t *testing.T) {
	onEach(t, func(t *testing.T, db consumertest.DB) {
		left, register := refusing(3, errBusy)
		h := consumertest.New(t, db, orders(consumers.Retry{}, register), consumertest.WithPartitions(4))
		want := make(map[string][]string)
		for n := range 60 {
			id, text := fmt.Sprintf("o-%d", n%7), fmt.Sprint("note ", n)
			h.Given(placed(id, int64(n), text))
			want[id] = append(want[id], text)
			if n%20 == 10 {
				h.Crash()
				h.Apply()
			}
		}
		h.Advance(time.Hour)
		h.RequireParked()
		for id, notes := range want {
			h.RequireRows("select notes, applied from orders where id = '"+id+"'", fmt.Sprintf("%s | %d", strings.Join(notes, ", "), len(notes)))
		}
		if left.Load() > 0 {
			t.Error("nothing failed")
		}
	})
}

// A test in a transaction leaves nothing behind, and its own settings as they were.
func TestTransactionIsTheTests(t *testing.T) {
	db := pgtest.New(t)
	tx := begin(t, db)
	if _, err := tx.Exec(t.Context(), "set local search_path = pg_temp, public; set local idle_in_transaction_session_timeout = '7min'"); err != nil {
		t.Fatal(err)
	}
	h := consumertest.New(t, tx, orders(consumers.Retry{}, handleNote), consumertest.WithPartitions(3))
	h.Crash()
	h.Given(placed("o-1", 1, "a"), placed("o-2", 2, "b"), placed("o-3", 2, "b"))
	h.Apply()
	h.RequireRows("select count(*) from orders", "3")
	var path, idle string
	if err := tx.QueryRow(t.Context(), "select current_setting('search_path'), current_setting('idle_in_transaction_session_timeout')").Scan(&path, &idle); err != nil {
		t.Fatal(err)
	}
	if path != "pg_temp, public" || idle != "7min" {
		t.Errorf("search_path %s, idle %s", path, idle)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := pgtest.Value[int](t, db, "select count(*) from pg_namespace where nspname in ('orders', 'runnel_projections')"); n != 0 {
		t.Errorf("%d schemas are left", n)
	}
}

// A database that has the projection from an earlier test is gone on with.
func TestDatabaseOfAnEarlierTest(t *testing.T) {
	pool := pgtest.New(t).Pool(t)
	for round := range 3 {
		h := consumertest.New(t, pool, orders(consumers.Retry{}, handleNote), consumertest.WithPartitions(2))
		h.Given(placed("o-1", 1, "a"), placed("o-2", 1, "b"), placed("o-3", 1, "c"))
		h.Apply()
		h.RequireRows("select sum(applied) from orders", fmt.Sprint(3*(round+1)))
	}
}

// What is wrong fails the test at once, and says what to do.
func TestFailures(t *testing.T) {
	database := pgtest.New(t)
	pool := database.Pool(t)
	for name, tc := range map[string]struct {
		do    func(testing.TB)
		wants []string
	}{
		"no handler": {func(t testing.TB) {
			consumertest.New(t, pool, orders(consumers.Retry{}, func(*consumers.Projection) {}))
		}, []string{"PROJECTION_REGISTRATION", "has no handler", "→ Register each event type"}},
		"no name": {func(t testing.TB) {
			consumertest.New(t, pool, consumers.New)
		}, []string{"PROJECTION_CONFIG", "→ Correct the field"}},
		"another broker": {func(t testing.TB) {
			consumertest.New(t, pool, func(cfg consumers.Config) (*consumers.Projection, error) {
				cfg.Broker = consumers.BrokerConfig{}
				return orders(consumers.Retry{}, handleNote)(cfg)
			})
		}, []string{"keep its Broker and Database"}},
		"another topic": {func(t testing.TB) {
			h := consumertest.New(t, pool, orders(consumers.Retry{}, handleNote))
			e := placed("p-1", 1, "")
			e.Payload = ParcelPacked{}
			h.Given(e)
		}, []string{"ParcelPacked of aggregate type parcel", "persistent://public/runnel/order", "GivenOn"}},
		"everything fails": {func(t testing.TB) {
			h := consumertest.New(t, pool, orders(consumers.Retry{}, func(p *consumers.Projection) {
				consumers.Handle(p, func(context.Context, pgx.Tx, consumers.Event[OrderPlaced]) error { return errBusy })
			}))
			for n := range 20 {
				h.Given(placed(fmt.Sprint("x-", n), 1, ""))
			}
			h.Apply()
		}, []string{"waits", "none is parked", errBusy.Error()}},
		"a broken migration": {func(t testing.TB) {
			h := consumertest.New(t, pool, func(cfg consumers.Config) (*consumers.Projection, error) {
				cfg.Name, cfg.Migrate = "broken", func(ctx context.Context, tx pgx.Tx) error {
					_, err := tx.Exec(ctx, "create tabel x ()")
					return err
				}
				p, err := consumers.New(cfg)
				handleNote(p)
				return p, err
			})
			h.Apply()
		}, []string{"PROJECTION_MIGRATE", "tabel", "→ Correct the statement"}},
		"nobody looks at what is parked": {func(t testing.TB) {
			_, register := refusing(1000, errBusy)
			h := consumertest.New(t, pool, func(cfg consumers.Config) (*consumers.Projection, error) {
				p, err := orders(consumers.Retry{}, register)(cfg)
				return p, err
			})
			h.Given(placed("o-1", 1, ""))
			h.Apply()
		}, []string{"aside, and the test did not look:\n", "OrderPlaced o-1 retrying", errBusy.Error(), "→ Call RequireParked"}},
		"nobody looks at what is discarded": {func(t testing.TB) {
			h := consumertest.New(t, begin(t, database), orders(consumers.Retry{}, func(p *consumers.Projection) {
				consumers.Handle(p, func(context.Context, pgx.Tx, consumers.Event[OrderPlaced]) error { return consumers.Discard(errBusy) })
			}))
			h.Given(placed("d-1", 1, ""))
			h.Apply()
			h.Parked() // of earlier tests
		}, []string{"has discarded 1 event, and the test did not look:\nOrderPlaced d-1\n→ Call RequireDiscarded"}},
		"other discarded events": {func(t testing.TB) {
			h := consumertest.New(t, begin(t, database), orders(consumers.Retry{}, handleNote))
			h.RequireDiscarded("OrderPlaced d-1")
		}, []string{"discarded events (- wanted, + found):\n- OrderPlaced d-1"}},
		"given and not applied": {func(t testing.TB) {
			h := consumertest.New(t, begin(t, database), orders(consumers.Retry{}, handleNote))
			h.Given(placed("g-1", 1, ""))
		}, []string{"1 event given to projection orders and not applied\n→ Call Apply"}},
		"rows before there are tables": {func(t testing.TB) {
			h := consumertest.New(t, pgtest.New(t).Pool(t), orders(consumers.Retry{}, handleNote))
			h.RequireRows("select * from note")
		}, []string{"made by the first Apply"}},
		"another config": {func(t testing.TB) {
			consumertest.New(t, pool, func(consumers.Config) (*consumers.Projection, error) {
				return consumers.New(consumers.Config{Name: "x"})
			})
		}, []string{"→ Let the constructor fill in the Config that it is given"}},
		"a transaction that is over": {func(t testing.TB) {
			tx := begin(t, database)
			h := consumertest.New(t, tx, orders(consumers.Retry{}, handleNote))
			if err := tx.Rollback(t.Context()); err != nil {
				t.Fatal(err)
			}
			h.RequireRows("select 1", "1")
		}, []string{"→ Look before the transaction is committed"}},
		"two transactions": {func(t testing.TB) {
			fresh := pgtest.New(t)
			for range 2 {
				h := consumertest.New(t, begin(t, fresh), orders(consumers.Retry{}, handleNote))
				h.SetStuck(100*time.Millisecond, 2*time.Second)
				h.Apply()
			}
		}, []string{"projection orders is stuck: session", "waits (", "idle in transaction", "→ Two harnesses"}},
		"a handler that does not return": {func(t testing.TB) {
			h := consumertest.New(t, begin(t, database), orders(consumers.Retry{}, func(p *consumers.Projection) {
				consumers.Handle(p, func(ctx context.Context, _ pgx.Tx, _ consumers.Event[OrderPlaced]) error {
					<-ctx.Done()
					return ctx.Err()
				})
			}))
			h.SetStuck(20*time.Millisecond, 100*time.Millisecond)
			h.Given(placed("s-1", 1, ""))
			h.Apply()
		}, []string{"stuck", "no session of its database waits for a lock", "the next event is OrderPlaced s-1"}},
		"other rows": {func(t testing.TB) {
			h := consumertest.New(t, pool, orders(consumers.Retry{}, handleNote))
			h.RequireRows("select 1, 'a' union all select 2, 'b' order by 1", "1 | a", "3 | b", "4 | c")
		}, []string{"  1 | a\n- 3 | b\n- 4 | c\n+ 2 | b"}},
		"other parked events": {func(t testing.TB) {
			h := consumertest.New(t, pool, orders(consumers.Retry{}, handleNote))
			h.RequireParked("OrderPlaced nobody parked")
		}, []string{"- OrderPlaced nobody parked"}},
		"dies for ever": {func(t testing.TB) {
			h := consumertest.New(t, pool, orders(consumers.Retry{}, handleNote))
			h.CrashWhen(func(consumertest.Moment) bool { return true })
			h.Given(placed("o-9", 1, ""))
			h.Apply()
		}, []string{"crashed 100 times"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := faketb.Run(t.Context(), tc.do)
			for _, want := range tc.wants {
				if !strings.Contains(got, want) {
					t.Errorf("%q lacks %q", got, want)
				}
			}
		})
	}
}
