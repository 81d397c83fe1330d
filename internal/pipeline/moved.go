package pipeline

import (
	"context"
	"math"
	"sync"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/capture"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/position"
)

// lackedEvents is lostEvents for a database that was moved to another server: by a dump,
// or by pg_upgrade. LSNs of the two say nothing about each other, so events are looked up
// by their ids. The history of the former server ends at the first that the database lacks:
// what was published behind it counts as lost too, and is published anew where the database
// has it.
func (r *run) lackedEvents(ctx context.Context) (Lost, tails, error) {
	from, err := r.source.Former(ctx)
	if err != nil {
		return Lost{}, nil, err
	}
	first := position.Position{Epoch: math.MaxUint32, LSN: math.MaxUint64}
	err = r.eachBehind(ctx, from, func(e LostEvent, lacked bool) {
		if lacked && e.Position.Less(first) {
			first = e.Position.Position
		}
	})
	if err != nil {
		return Lost{}, nil, err
	}
	r.source.EndFormer(first.LSN)
	if h := eras(r.source.Eras()); first.Epoch != math.MaxUint32 && h.Holds(first) {
		return Lost{}, nil, capture.ErrEpochChanged.New("it lacks the event at %s, which another history begins behind", first).
			Fix("Restore the database anew, from a newer dump.")
	}
	first.Index = 0 // a transaction is held as a whole
	return r.lostEvents(ctx, first)
}

// lookUpAtOnce is how many events are looked up in one go.
const lookUpAtOnce = 1000

// eachBehind tells found of each event that the topics hold at or above a position, and
// whether the database lacks it. found is called by one goroutine at a time.
func (r *run) eachBehind(ctx context.Context, from position.Position, found func(e LostEvent, lacked bool)) error {
	db, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close(context.WithoutCancel(ctx)) }()
	var mu sync.Mutex // guards db and found
	_, err = r.eachTail(ctx, func(ctx context.Context, p broker.Partition, tail position.Stamp) error {
		if tail.Ordinal == 0 || tail.Less(from) || r.isDeadLetters(p) { // what is parked was not published
			return nil
		}
		return r.eventsOf(ctx, p, from, func(events []LostEvent) error {
			mu.Lock()
			defer mu.Unlock()
			has, err := inOutbox(ctx, db, events)
			for _, e := range events {
				if err == nil {
					found(e, !has[e.ID])
				}
			}
			return err
		})
	})
	return err
}

// eventsOf hands out the events of a partition at or above a position, some at a time.
func (r *run) eventsOf(ctx context.Context, p broker.Partition, from position.Position, take func([]LostEvent) error) error {
	var some []LostEvent
	err := r.readLost(ctx, p, from, position.History{{}}, func(e LostEvent) error {
		if some = append(some, e); len(some) < lookUpAtOnce {
			return nil
		}
		err := take(some)
		some = some[:0]
		return err
	})
	if err != nil || len(some) == 0 {
		return err
	}
	return take(some)
}

// inOutbox returns which of some events the outbox has.
func inOutbox(ctx context.Context, db *pgx.Conn, events []LostEvent) (map[string]bool, error) {
	ids := make([]string, 0, len(events))
	for _, e := range events {
		if _, err := uuid.Parse(e.ID); err == nil {
			ids = append(ids, e.ID)
		}
	}
	rows, _ := db.Query(ctx, `select distinct o.id::text from runnel.outbox o where o.id = any($1::text[]::uuid[])`, ids)
	has := make(map[string]bool, len(ids))
	var id string
	_, err := pgx.ForEachRow(rows, []any{&id}, func() error { has[id] = true; return nil })
	return has, err
}
