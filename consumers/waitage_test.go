package consumers_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// An event that is older than the window costs nothing, and is not proven but by
// a later one.
func TestWaitForOlderThanTheWindow(t *testing.T) {
	w := newWorld(t, 1)
	r := w.started(t, w.waiting(t), handleFold)
	old := w.write(t, orders, "a", OrderPlaced{N: 1}, ago(11*time.Minute))
	w.appliedAll(t)
	if n := w.kept(t); n != 0 {
		t.Errorf("%d ids are kept", n)
	}
	w.waits(t, tokenOf(t, old), consumers.ErrTokenExpired, "was written at")
	recent := w.write(t, orders, "a", OrderPlaced{N: 2}, ago(9*time.Minute))
	w.waits(t, tokenAt(t, 0, 0, recent), nil)
	w.waits(t, tokenOf(t, old), nil)
	w.waits(t, tokenAt(t, 0, 0, old), consumers.ErrTokenExpired)
	r.stop(t)
}

func (w *world) kept(t *testing.T) int64 {
	t.Helper()
	return pgtest.Value[int64](t, w.db, "select count(*) from runnel_projections.passed")
}

// What was passed before there was a window was passed without its id; a version
// that is new knows all that it passed.
func TestWaitForWindowIsNew(t *testing.T) {
	w := newWorld(t, 1)
	r := w.started(t, w.config(t), handleFold)
	before := w.write(t, orders, "a", OrderPlaced{N: 1})
	w.appliedAll(t)
	r.stop(t)
	r = w.started(t, w.waiting(t), handleFold)
	after := w.write(t, orders, "a", OrderPlaced{N: 2})
	w.waits(t, tokenAt(t, 0, 0, after), nil)
	w.waits(t, tokenAt(t, 0, 0, before), consumers.ErrTokenExpired)
	r.stop(t)

	longer := w.waiting(t)
	longer.WaitWindow = time.Hour
	r = w.started(t, longer, handleFold)
	w.waits(t, tokenAt(t, 0, 0, after), nil)
	w.waits(t, tokenAt(t, 0, 0, before), consumers.ErrTokenExpired)
	r.stop(t)

	// Written before the projection's first start, applied by it.
	w = newWorld(t, 1)
	early := w.write(t, orders, "a", OrderPlaced{N: 1})
	r = w.started(t, w.waiting(t), handleFold)
	w.waits(t, tokenAt(t, 0, 0, early), nil)
	r.stop(t)
}

// Ids leave when the window is over, also where nothing is published any more;
// and when there is no window any more.
func TestWaitForForgets(t *testing.T) {
	w := newWorld(t, 2)
	forgets := func(window time.Duration) {
		t.Helper()
		cfg := w.config(t)
		cfg.WaitWindow = window
		p, err := consumers.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		handleFold(p)
		p.SetSilence(20 * time.Millisecond)
		r := startProjection(t, p)
		pgtest.Eventually(t, patience, func() bool { return w.kept(t) == 0 }, "the ids to be deleted")
		r.stop(t)
	}
	r := w.started(t, w.waiting(t), handleFold)
	for i := range 50 {
		w.write(t, orders, fmt.Sprint(i), OrderPlaced{N: int64(i)})
	}
	last := w.write(t, orders, "a", OrderPlaced{N: 50})
	w.appliedAll(t)
	r.stop(t)
	if n := w.kept(t); n != 51 {
		t.Errorf("%d ids are kept", n)
	}
	forgets(time.Second)
	w.waits(t, tokenOf(t, last), consumers.ErrTokenExpired)

	r = w.started(t, w.waiting(t), handleFold)
	w.waits(t, tokenOf(t, w.write(t, orders, "a", OrderPlaced{N: 51})), nil)
	r.stop(t)
	forgets(0)
}

// A token of an earlier history is proven by the event's id alone.
func TestWaitForOlderEpoch(t *testing.T) {
	w := newWorld(t, 1)
	r := w.started(t, w.waiting(t), handleFold)
	known := w.write(t, orders, "a", OrderPlaced{N: 1})
	lost := *known
	lost.Properties = map[string]string{"id": uuid.Must(uuid.NewV7()).String(), "type": "OrderPlaced"}
	w.waitsInVain(t, tokenAt(t, 1, 1<<32, &lost))
	w.write(t, orders, "b", OrderPlaced{N: 2}, inEpoch(2))
	w.appliedAll(t)
	w.waits(t, tokenOf(t, known), nil)
	w.waits(t, tokenAt(t, 1, 1<<32, &lost), consumers.ErrTokenHistory, "of epoch 1", "is at epoch 2")
	w.waitsInVain(t, tokenAt(t, 2, 1<<32, &lost))
	w.waitsInVain(t, tokenAt(t, 3, 1, &lost))
	w.waitsInVain(t, tokenAt(t, 0, 1, &lost))
	w.waits(t, tokenAt(t, 2, 1, &lost), nil) // its position proves it
	r.stop(t)
}

// Tables of before there was waiting are brought up to date, and go with the
// projection.
func TestWaitingTablesAreAdded(t *testing.T) {
	w := newWorld(t, 1)
	r := w.started(t, w.waiting(t), handleFold)
	before := w.write(t, orders, "a", OrderPlaced{N: 1})
	w.appliedAll(t)
	r.stop(t)
	w.db.Exec(t, "drop table runnel_projections.passed, runnel_projections.topic, runnel_projections.waiting")
	w.waits(t, tokenOf(t, before), consumers.ErrNoWaiting, "a release without WaitFor")
	r = w.started(t, w.waiting(t), handleFold)
	after := w.write(t, orders, "a", OrderPlaced{N: 2})
	w.waits(t, tokenOf(t, after), nil)
	w.waits(t, tokenOf(t, before), nil)
	w.waits(t, tokenAt(t, 0, 0, before), consumers.ErrTokenExpired)
	r.stop(t)
	w.db.Exec(t, "delete from runnel_projections.projection")
	if n := w.kept(t); n != 0 {
		t.Errorf("%d ids are left", n)
	}
	w.waits(t, tokenOf(t, after), consumers.ErrTokenForeign)
}

// When another version becomes the live one in the middle, all events have to be
// in that one.
func TestWaitForAnotherVersion(t *testing.T) {
	w := newWorld(t, 1)
	r := w.started(t, w.waiting(t), handleFold)
	one := w.write(t, orders, "a", OrderPlaced{N: 1})
	w.appliedAll(t)
	two := w.message(t, one.Partition, "b", OrderPlaced{N: 2}) // never published
	db := &counting{Querier: w.db.Conn(t)}
	answered := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		answered <- consumers.WaitFor(ctx, db, "fulfilment", tokenAt(t, 0, 0, one, two))
	}()
	looked := func() { // twice more
		n := db.n.Load()
		pgtest.Eventually(t, patience, func() bool { return db.n.Load() > n+1 }, "the database to be asked")
	}
	looked()
	r.stop(t)
	w.db.Exec(t, fmt.Sprintf(`begin;
		update runnel_projections.projection set state = 'old';
		insert into runnel_projections.projection (name, version, schema) values ('fulfilment', 2, 'fulfilment_2');
		insert into runnel_projections.waiting values ('fulfilment', 2, null, '10 minutes', '-infinity');
		insert into runnel_projections.position (projection, version, topic, partition, position, ordinal) values ('fulfilment', 2, '%[1]s', 0, '', 0);
		insert into runnel_projections.passed values ('fulfilment', 2, '%[1]s', 0, '%[2]s');
		commit`, orders, two.Properties["id"]))
	looked()
	select {
	case err := <-answered:
		t.Fatalf("answered with %v before the first event was in the new version", err)
	default:
	}
	w.db.Exec(t, "insert into runnel_projections.passed values ('fulfilment', 2, $1, 0, $2)", orders, one.Properties["id"])
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// counting counts queries.
type counting struct {
	consumers.Querier
	n atomic.Int64
}

func (c *counting) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	c.n.Add(1)
	return c.Querier.Query(ctx, sql, args...)
}
