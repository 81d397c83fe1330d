package evolution

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/outbox"
	"github.com/runnel-cdc/runnel/schemas"
)

// world is a source database and a namespace on real servers.
type world struct {
	t      *testing.T
	client *broker.Pulsar
	pg     *pgtest.DB
	db     *pgx.Conn
	target Target
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := pgtest.New(t)
	roles := outbox.Roles{Owner: db.Role("owner"), Writer: db.Role("writer"), Daemon: db.Role("daemon")}
	if _, err := outbox.Init(t.Context(), db.Conn(t), outbox.InitOptions{Roles: roles}); err != nil {
		t.Fatal(err)
	}
	const password = "of-a-test" // of a role that ends with the test
	db.Exec(t, `alter role "`+roles.Daemon+`" password '`+password+`'`)
	client, err := broker.Dial(t.Context(), broker.Config{URL: pulsartest.URL(t), AdminURL: pulsartest.AdminURL(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &world{t, client, db, pgtest.Conn(t, db.URLAs(roles.Daemon, password)),
		Target{Namespace: pulsartest.NamespaceName(t), Partitions: 2, TopicOf: byAggregate}}
}

func (w *world) plan(c *schemas.Catalog) *Plan {
	w.t.Helper()
	s, err := Observe(w.t.Context(), w.client, w.db, w.target, c, Everything)
	if err != nil {
		w.t.Fatal(err)
	}
	return plan(w.t, c, s, Settings{})
}

var errKilled = errors.New("killed")

// apply carries a plan out as the command does, and stops after some steps; -1: never.
func (w *world) apply(c *schemas.Catalog, hash string, after int) error {
	ctx, kill := context.WithCancelCause(w.t.Context())
	defer kill(nil)
	steps, err := Begin(ctx, w.db, hash, w.plan(c))
	if err != nil {
		return err
	}
	done := 0
	a := Applier{Cluster: w.client, DB: w.db, Target: w.target, Done: func(Step) {
		if done++; done == after {
			kill(errKilled)
		}
	}}
	if after == 0 {
		return errKilled
	}
	if err := a.Apply(ctx, steps); err != nil || ctx.Err() != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return Finish(ctx, w.db, hash)
}

// TestApplyKilled: wherever an apply is cut off, the same plan goes on, and in the end
// nothing is left to plan.
func TestApplyKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	all := catalog(t, record("A", id), record("B", id), strings.Replace(record("C", id), `"order"`, `"basket"`, 1))
	p := w.plan(all)
	if len(p.Steps) < 12 {
		t.Fatalf("steps %q", steps(p))
	}
	hash := p.Hash()
	for after := range 4 { // 0, 1, 2 and 3 steps further each time
		if err := w.apply(all, hash, after); !errors.Is(err, errKilled) {
			t.Fatalf("after %d more steps: %v", after, err)
		}
		if left := w.plan(all); left.Hash() == hash && after > 0 || len(left.Steps) >= len(p.Steps) && after > 0 {
			t.Fatalf("after %d more steps, %q are left", after, steps(left))
		}
	}
	if err := w.apply(all, hash, -1); err != nil {
		t.Fatal(err)
	}
	if left := w.plan(all); len(left.Steps) != 0 {
		t.Errorf("left to do: %q", steps(left))
	}
	if err := w.apply(all, hash, -1); err != nil {
		t.Errorf("applied once more, with nothing to do: %v", err)
	}
	types, err := outbox.EventTypes(t.Context(), w.db)
	if err != nil || len(types) != 3 {
		t.Errorf("registered types %v, %v", types, err)
	}
	// The versions are those that were planned.
	for _, s := range p.Steps {
		if s.Kind != Register {
			continue
		}
		versions, err := schemas.NewRegistry(w.client.AdminURL(), w.client.HTTP()).Versions(t.Context(), s.Object)
		if err != nil || len(versions) != 1 || versions[0].Version != s.Version || versions[0].JSON != s.Schema {
			t.Errorf("%s: %v, %v", s.Object, versions, err)
		}
	}
}

// TestApplyStale: a plan is for what it saw. What somebody else changes makes it stale,
// before it was begun and after.
func TestApplyStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := catalog(t, record("A", id))
	hash := w.plan(first).Hash()
	if err := w.apply(first, hash, -1); err != nil {
		t.Fatal(err)
	}
	second := catalog(t, record("A", id+","+coupon), record("B", id))
	ours := w.plan(second).Hash()
	theirs := catalog(t, record("A", id), record("C", id))
	p := w.plan(theirs)
	if err := w.apply(theirs, p.Hash(), -1); err != nil {
		t.Fatal(err)
	}
	if err := w.apply(second, ours, -1); !errors.Is(err, ErrStale) {
		t.Errorf("somebody registered in between: %v", err)
	}
	if err := w.apply(theirs, "0123456789abcdef", -1); !errors.Is(err, ErrStale) {
		t.Errorf("a plan that there never was: %v", err)
	}
	if err := w.apply(first, hash, -1); !errors.Is(err, ErrStale) {
		t.Errorf("a plan that was carried out, and undone since: %v", err)
	}

	// Begun, and then somebody else.
	third := catalog(t, record("A", id+","+coupon), record("C", id), strings.Replace(record("D", id), `"order"`, `"basket"`, 1))
	hash = w.plan(third).Hash()
	if err := w.apply(third, hash, 1); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	other := catalog(t, record("A", id), record("C", id), record("E", id), strings.Replace(record("D", id+","+coupon), `"order"`, `"basket"`, 1))
	s, err := Observe(t.Context(), w.client, w.db, w.target, other, Everything)
	if err != nil {
		t.Fatal(err)
	}
	theirPlan, err := Make(other, s, Settings{}, Additions, today)
	if err != nil {
		t.Fatal(err)
	}
	a := Applier{Cluster: w.client, DB: w.db, Target: w.target}
	if err := a.Apply(t.Context(), theirPlan.Steps); err != nil {
		t.Fatal(err)
	}
	if err := w.apply(third, hash, -1); !errors.Is(err, ErrStale) {
		t.Errorf("somebody registered while it was cut off: %v", err)
	}
}

// TestRegisterStale: a step looks again before it acts, and at what it has done.
func TestRegisterStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := catalog(t, record("A", id))
	if err := w.apply(c, w.plan(c).Hash(), -1); err != nil {
		t.Fatal(err)
	}
	p := w.plan(catalog(t, record("A", id+","+coupon)))
	i := slices.IndexFunc(p.Steps, func(s Step) bool { return s.Kind == Register })
	step := p.Steps[i]
	a := Applier{Cluster: w.client, DB: w.db, Target: w.target}
	step.From = "version 7"
	if err := a.Apply(t.Context(), []Step{step}); !errors.Is(err, ErrStale) {
		t.Errorf("another version before: %v", err)
	}
	step = p.Steps[i]
	step.Version = 7
	if err := a.Apply(t.Context(), []Step{step}); !errors.Is(err, ErrStale) {
		t.Errorf("another version after: %v", err)
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if mine, err := Lock(t.Context(), w.db, time.Second); err != nil || !mine {
		t.Fatal(mine, err)
	}
	other := w.pg.Conn(t)
	if mine, err := Lock(t.Context(), other, 50*time.Millisecond); err != nil || mine {
		t.Errorf("a second one has it: %t, %v", mine, err)
	}
}

// TestLiveReaders: who is connected is named with what it tells of itself.
func TestLiveReaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := catalog(t, record("E", id+","+note))
	if err := w.apply(first, w.plan(first).Hash(), -1); err != nil {
		t.Fatal(err)
	}
	e, _ := first.Event("E")
	cfg := broker.Config{URL: pulsartest.URL(t), AdminURL: pulsartest.AdminURL(t), Properties: reader("billing", 0, e).Consumers[0].Properties}
	client, err := broker.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if _, err := client.Subscribe(t.Context(), broker.Partition{Topic: "persistent://" + w.target.Namespace + "/order"}, "billing"); err != nil {
		t.Fatal(err)
	}
	blocked := w.plan(catalog(t, record("E", id))).Blocked()
	if len(blocked) != 1 || len(blocked[0].Readers) != 1 || !strings.Contains(blocked[0].Readers[0].String(), "billing (1 connected") {
		t.Errorf("%q, %v", told(blocked), blocked)
	}
	if err := Refused(blocked); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "Concerned: billing") {
		t.Errorf("%v", err)
	}
}
