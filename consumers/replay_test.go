package consumers_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// replayed makes a projection that keeps nothing but what is replayed: the numbers
// of events that came with CatchingUp set.
func (w *world) replayer(t *testing.T, cfg consumers.Config, fails func(consumers.Event[OrderPlaced]) error) (*consumers.Projection, func() []int64) {
	t.Helper()
	w.db.Exec(t, "create table if not exists replayed (seq bigserial, n bigint); truncate replayed")
	p, err := consumers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[OrderPlaced]) error {
		if !e.CatchingUp {
			return errors.New("it is not catching up")
		}
		if fails != nil {
			if err := fails(e); err != nil {
				return err
			}
		}
		_, err := tx.Exec(ctx, "insert into public.replayed (n) values ($1)", e.Payload.N)
		return err
	})
	return p, func() []int64 {
		rows, _ := w.db.Conn(t).Query(t.Context(), "select n from replayed order by seq")
		all, err := pgx.CollectRows(rows, pgx.RowTo[int64])
		if err != nil {
			t.Error(err)
		}
		return all
	}
}

func TestReplay(t *testing.T) {
	w := newWorld(t, 1)
	of := broker.Partition{Topic: orders}
	want := make(truth)
	w.fill(t, 300, want)
	cfg := w.config(t)
	cfg.Retry = soon
	var f failing
	f.set(only(7)) // number 7 of key 0 is parked, and those of its key behind it
	r := start(t, cfg, f.register)
	pgtest.Eventually(t, patience, func() bool { return w.saw.parked.Load() == 1 }, "parked")
	w.appliedAll(t)
	parked := int64(len(w.parked(t)))
	r.stop(t)
	w.fill(t, 20, want) // beyond the copy's position

	at := func(n int) consumers.Position {
		stamp, err := w.logs[of][n].Stamp()
		if err != nil {
			t.Fatal(err)
		}
		return stamp.Position
	}
	id := func(n int) uuid.UUID { return uuid.MustParse(w.logs[of][n].Properties["id"]) }
	published := time.UnixMilli(1_700_000_000_500)
	for name, c := range map[string]struct {
		of   consumers.ReplayRange
		want int
	}{
		"positions":        {consumers.ReplayRange{From: at(101), To: at(103)}, 3},
		"ids":              {consumers.ReplayRange{IDs: []uuid.UUID{id(1), id(201)}}, 2},
		"beyond":           {consumers.ReplayRange{From: at(299)}, 1},
		"ids beyond":       {consumers.ReplayRange{IDs: []uuid.UUID{id(301)}}, 0},
		"key":              {consumers.ReplayRange{Key: "o0-1"}, 43},
		"type":             {consumers.ReplayRange{Type: "OrderPlaced"}, 300 - int(parked)},
		"another type":     {consumers.ReplayRange{Type: "OrderShipped"}, 0},
		"since":            {consumers.ReplayRange{Since: published}, 300 - int(parked)},
		"until":            {consumers.ReplayRange{Until: published}, 0},
		"parked":           {consumers.ReplayRange{Key: "o0-0", From: at(7)}, 0},
		"key and position": {consumers.ReplayRange{Key: "o0-1", From: at(200)}, 14},
	} {
		t.Run(name, func(t *testing.T) {
			p, all := w.replayer(t, cfg, nil)
			before := w.positions(t)[0]
			got, err := p.Replay(t.Context(), c.of, true)
			if err != nil || got != (consumers.Replayed{Matched: c.want}) || len(all()) != 0 {
				t.Errorf("a dry run: %+v, %v, %d handled; want %d", got, err, len(all()), c.want)
			}
			got, err = p.Replay(t.Context(), c.of, false)
			if err != nil || got != (consumers.Replayed{Matched: c.want, Applied: c.want}) || len(all()) != c.want {
				t.Errorf("%+v, %v, %d handled; want %d", got, err, len(all()), c.want)
			}
			for i, n := range all() {
				if i > 0 && n <= all()[i-1] {
					t.Errorf("%d behind %d", n, all()[i-1])
				}
			}
			if at := w.positions(t)[0]; at != before {
				t.Errorf("the position moved from %d to %d", before, at)
			}
		})
	}
	f.set(nil)
	r = start(t, cfg, f.register)
	if _, err := consumers.RetryParked(t.Context(), cfg.Database, "fulfilment", consumers.ParkedFilter{}); err != nil {
		t.Fatal(err)
	}
	w.unparked(t)
	r.stop(t)
	w.requireCopy(t, want)
}

func TestReplayFails(t *testing.T) {
	w := newWorld(t, 2)
	w.fill(t, 100, make(truth))
	cfg := w.config(t)
	r := start(t, cfg, handleFold)
	w.appliedAll(t)
	r.stop(t)
	p, all := w.replayer(t, cfg, func(e consumers.Event[OrderPlaced]) error {
		switch e.Payload.N {
		case 20:
			return consumers.Discard(errors.New("not this one"))
		case 30:
			return errors.New("nor that")
		}
		return nil
	})
	got, err := p.Replay(t.Context(), consumers.ReplayRange{Type: "OrderPlaced"}, false)
	requireFault(t, err, consumers.ErrReplay, "nor that", "position 00000001-", "order-partition-0")
	if want := (consumers.Replayed{Matched: 15, Applied: 14, Discarded: 1}); got != want || len(all()) != 14 {
		t.Errorf("%+v, %d handled", got, len(all()))
	}
	if _, err = p.Replay(t.Context(), consumers.ReplayRange{}, false); !errors.Is(err, consumers.ErrConfig) {
		t.Errorf("without a range: %v", err)
	}
	r = startProjection(t, p)
	pgtest.Eventually(t, patience, func() bool { return len(r.Status()) > 0 }, "it runs")
	if _, err = p.Replay(t.Context(), consumers.ReplayRange{Key: "a"}, true); !errors.Is(err, consumers.ErrRunning) {
		t.Errorf("while it runs: %v", err)
	}
}
