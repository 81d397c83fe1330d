package evolvetest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/examples/quickstart/orders"
	"github.com/runnel-cdc/runnel/internal/evolvetest/events"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/readerstest/programs"
	"github.com/runnel-cdc/runnel/outbox"
)

// While the old release publishes, the new one's catalog is planned and applied, and
// then both publish side by side. The daemon goes on in the same run; readers of either
// release have every event once.
func TestEvolveUnderLoad(t *testing.T) {
	t.Parallel()
	run := programs.New(t)
	w := newWorld(t)
	w.apply()
	daemon, _ := w.daemon(oldCatalog)
	old, now := w.fulfil(), w.desk("desk") // readers may be released before writers
	generics := w.genericReaders(run)
	typedReaders, traps := w.typedReaders(run)
	w.connected("fulfilment", "desk", "orders-java", "orders-python", "typed-java", "typed-java-by-hand", "typed-python")
	began := time.Now()
	stopOld := w.background("the old release", (&orders.Simulation{DB: w.service, Pause: 15 * time.Millisecond, Seed: 1}).Run)
	w.more(150)

	w.tooEarly()

	w.put(newCatalog)
	// An upgrade of the outbox does not admit what no topic's schema holds yet.
	if out, code := w.run(w.db.URL(), "init"); code != 0 || !strings.Contains(out, "left to `runnel schemas apply`") {
		t.Errorf("runnel init, once more: exit code %d\n%s", code, out)
	}
	planned := w.apply()
	steps := []string{"schema.register ~ OrderPaid,~ OrderPlaced,~ OrderShipped,+ OrderReturned", "types.register"}
	if got := stepsOf(planned); !slices.Equal(got, steps) {
		t.Errorf("planned %q, want %q", got, steps)
	}
	w.more(100) // the old release goes on, and is in nobody's way
	w.exec(migration)
	stopNew := w.background("the new release", (&release{w.service}).Run)
	w.more(300)
	w.refusals()
	stopOld()
	stopNew()
	took := time.Since(began)

	total := w.committed()
	old.passes(t, total)
	now.passes(t, total)
	old.equals(w, oldColumns)
	now.equals(w, newColumns)
	returned := pgtest.Value[int](t, w.db, "select count(*)::int from runnel.outbox where event_type = 'OrderReturned'")
	late := w.desk("late") // everything from the start of the topic, in all versions
	late.passes(t, total)
	late.equals(w, newColumns)
	w.nothingLeft()
	want, order := w.asOld()
	t.Run("readers", func(t *testing.T) { // at once, as they take time to end and to start
		check := func(name string, f func(w *world)) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w := *w
				w.t = t
				f(&w)
			})
		}
		for _, g := range generics {
			check(g.program.Name, func(w *world) { w.reads(g, total, returned) })
		}
		for _, r := range typedReaders {
			check(r.name, func(w *world) { w.sees(r, want, order) })
		}
		check("traps", traps)
	})
	skipped := pgtest.Values[string](t, old.db, "select event_type from runnel_projections.unhandled")
	if returned == 0 || !slices.Equal(skipped, []string{"OrderReturned"}) {
		t.Errorf("%d orders were returned; the old copy passed over events of %q", returned, skipped)
	}
	w.thirdRelease([]*copied{old, now, late}, typedReaders)
	w.audit()
	if st := daemon.Status(); st.Run != 1 || st.State != pipeline.Streaming {
		t.Errorf("run %d is %s, want the first one streaming: %s", st.Run, st.State, st.Message)
	}
	if n := len(w.versions()); n != 3 {
		t.Errorf("the topic has %d versions of its schema, want the three that were applied", n)
	}
	t.Logf("%d events in %s (%.0f/s), %d of them of the new type", total, took.Round(time.Second), float64(total)/took.Seconds(), returned)
}

// tooEarly requires that the new release is refused in its own transaction, and nobody
// else notices, while its catalog is not applied.
func (w *world) tooEarly() {
	w.t.Helper()
	err := pgx.BeginFunc(w.t.Context(), w.service, func(tx pgx.Tx) error {
		_, err := outbox.Publish(w.t.Context(), tx, outbox.Event{AggregateID: "1", Payload: events.OrderReturned{OrderID: "1"}})
		return err
	})
	if !errors.Is(err, outbox.ErrSchemaNotApplied) {
		w.t.Errorf("published before it was applied: %v", err)
	}
}

// stepsOf tells a plan's steps, with what they change in a topic's schema.
func stepsOf(e envelope) []string {
	var all []string
	for _, s := range e.Result.Steps {
		text := s.Kind
		if s.Kind == "schema.register" {
			text += " " + strings.Join(s.Changes, ",")
		}
		all = append(all, text)
	}
	return all
}
