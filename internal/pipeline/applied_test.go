package pipeline_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/evolution"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/wire"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// apply does what `schemas apply` does for a topic with another catalog than the
// daemon's: the registry first, then the types that writers may publish.
func (w *world) apply(local string, events ...*schemas.EventType) int64 {
	w.t.Helper()
	full := wire.TopicName(w.cfg.Namespace, local)
	if _, err := w.client.EnsureTopic(w.t.Context(), full, 4, nil); err != nil {
		w.t.Fatal(err)
	}
	registry := schemas.NewRegistry(w.client.AdminURL(), w.client.HTTP())
	versions, err := registry.Versions(w.t.Context(), full)
	if err != nil {
		w.t.Fatal(err)
	}
	var previous *schemas.TopicSchema
	if len(versions) > 0 {
		previous = versions[len(versions)-1]
	}
	composed, err := schemas.Compose(local, events, previous)
	if err != nil {
		w.t.Fatal(err)
	}
	version, err := registry.Register(w.t.Context(), full, composed)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := outbox.RegisterEventTypes(w.t.Context(), w.db.Conn(w.t), events); err != nil {
		w.t.Fatal(err)
	}
	return version
}

// put inserts an event as a service does, under the guard of the registered types.
func (w *world) put(e *schemas.EventType, payload ...byte) {
	w.t.Helper()
	w.db.Exec(w.t, `insert into runnel.outbox (aggregate_type, aggregate_id, event_type, encoding, fingerprint, payload)
		values ($1, '1', $2, 1, $3, $4)`, e.AggregateType, e.Name, e.Fingerprint[:], payload)
}

func mustEvent(t *testing.T, format string, args ...any) *schemas.EventType {
	t.Helper()
	e, err := schemas.ParseEventType(fmt.Sprintf(format, args...))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestAppliedWhileRunning: a version, a type and a whole topic that are applied with
// a catalog that the daemon does not have are published; the first two within the run.
func TestAppliedWhileRunning(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Hour
	w.init()
	p, _ := w.start()
	w.write(1, 20)
	w.caughtUp()

	// Without the field "carrier", which rows in JSON go on to have.
	shipped := mustEvent(t, `{"type":"record","name":"OrderShipped","aggregate":"order","fields":[{"name":"order_id","type":"string"},{"name":"weight","type":"int","default":0}]}`)
	returned := mustEvent(t, `{"type":"record","name":"OrderReturned","aggregate":"order","fields":[{"name":"order_id","type":"string"}]}`)
	old := catalogEvent(t, "OrderShipped")
	w.apply("order", shipped, returned)
	w.put(shipped, 2, 'a', 4)
	w.put(returned, 2, 'a')
	w.put(old, 2, 'a', 6, 'D', 'H', 'L', 0, 0)
	w.write(21, 20)
	w.caughtUp()
	w.complete("order")
	if st := p.Status(); st.Run != 1 || st.State != pipeline.Streaming {
		t.Errorf("run %d is %s, want the first one streaming", st.Run, st.State)
	}

	invoiced := mustEvent(t, `{"type":"record","name":"Invoiced","aggregate":"invoice","fields":[{"name":"id","type":"string"}]}`)
	w.apply("invoice", invoiced)
	w.put(invoiced, 2, 'a')
	w.write(41, 20)
	w.caughtUp()
	if n := len(w.topic("invoice")); n != 1 {
		t.Errorf("the new topic holds %d events, want 1", n)
	}
	if st := p.Status(); st.State != pipeline.Streaming {
		t.Errorf("the daemon is %s: %s", st.State, st.Message)
	}
}

// catalogEvent returns an event as the daemon's catalog has it.
func catalogEvent(t *testing.T, name string) *schemas.EventType {
	t.Helper()
	catalog, err := schemas.Load(os.DirFS(schemasDir), ".")
	if err != nil {
		t.Fatal(err)
	}
	e, ok := catalog.Event(name)
	if !ok {
		t.Fatalf("no event %s", name)
	}
	return e
}

// TestRetired: what is in the outbox of a type that was withdrawn is published all the
// same, though neither the catalog nor the registered types lead to its topic; and a
// daemon that has an older catalog does not let it in again.
func TestRetired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Recheck = time.Hour
	w.init()
	first, stop := w.start()
	reaches(t, first, pipeline.Streaming, "")
	invoiced := mustEvent(t, `{"type":"record","name":"Invoiced","aggregate":"invoice","fields":[{"name":"id","type":"string"}]}`)
	w.apply("invoice", invoiced)
	w.put(invoiced, 2, 'a')
	pgtest.Eventually(t, 60*time.Second, func() bool { return len(w.topic("invoice")) == 1 }, "the first is published")
	stop()
	w.put(invoiced, 2, 'b')
	w.write(1, 20)
	full := wire.TopicName(w.cfg.Namespace, "invoice")
	registry := schemas.NewRegistry(w.client.AdminURL(), w.client.HTTP())
	versions, err := registry.Versions(t.Context(), full)
	if err != nil {
		t.Fatal(err)
	}
	retired, err := schemas.Compose("invoice", nil, versions[0], "Invoiced")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := registry.Register(t.Context(), full, retired); err != nil {
		t.Fatal(err)
	}
	if err := outbox.WithdrawEventTypes(t.Context(), w.db.Conn(t), "Invoiced"); err != nil {
		t.Fatal(err)
	}
	w.cfg.Schemas = catalogWith(t, nil)
	avsc := `{"type":"record","name":"Invoiced","aggregate":"invoice","fields":[{"name":"id","type":"string"}]}`
	for _, older := range []bool{false, true} {
		if older {
			if err := os.WriteFile(filepath.Join(w.cfg.Schemas, "Invoiced.avsc"), []byte(avsc), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		p, stop := w.start()
		reaches(t, p, pipeline.Streaming, "")
		w.caughtUp()
		if n := len(w.topic("invoice")); n != 2 {
			t.Errorf("with an older catalog: %t: the topic holds %d events, want 2", older, n)
		}
		if types, err := outbox.EventTypes(t.Context(), w.db.Conn(t)); err != nil || slices.ContainsFunc(types, func(r outbox.RegisteredType) bool { return r.Name == "Invoiced" }) {
			t.Errorf("with an older catalog: %t: types %v, %v", older, types, err)
		}
		stop()
	}
}

// TestMovedByAutoApply: an event that goes to another topic is judged by what it was.
func TestMovedByAutoApply(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Schemas = catalogWith(t, map[string]string{"Lone": "first"})
	w.init()
	_, stop := w.start()
	w.write(1, 5)
	w.caughtUp()
	stop()
	addEvent(t, w.cfg.Schemas, "Lone", "second")
	p, err := pipeline.New(w.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); !errors.Is(err, evolution.ErrRefused) || !strings.Contains(err.Error(), "EVENT_AGGREGATE_CHANGED") {
		t.Errorf("%v", err)
	}
}
