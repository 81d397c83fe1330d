package consumers_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/schemas"
)

// requireFault requires that err has a code, the words, and a remedy.
func requireFault(t *testing.T, err error, code *fault.Code, words ...string) {
	t.Helper()
	if !errors.Is(err, code) {
		t.Fatalf("got %v, want %s", err, code.ID)
	}
	f := fault.Find(err)
	for _, word := range words {
		if text := err.Error() + " → " + f.WhatToDo(); !strings.Contains(text, word) {
			t.Errorf("%q does not say %q", text, word)
		}
	}
}

// A pool that never connects, for what is refused before.
func idlePool(t *testing.T) *pgxpool.Pool {
	return poolWith(t, "postgres://nobody@127.0.0.1:1/nothing", func(*pgxpool.Config) {})
}

func TestConfigIsChecked(t *testing.T) {
	pool := idlePool(t)
	for word, cfg := range map[string]consumers.Config{
		"Name":                  {Database: pool},
		"Name \"Shop\"":         {Name: "Shop", Database: pool},
		"Name \"public\"":       {Name: "public", Database: pool},
		"Name \"pg_shop\"":      {Name: "pg_shop", Database: pool},
		"Name \"a;b\"":          {Name: "a;b", Database: pool},
		"at most 50":            {Name: strings.Repeat("a", 51), Database: pool},
		"Version":               {Name: "a", Version: -1, Database: pool},
		"Database":              {Name: "a"},
		"Namespace":             {Name: "a", Database: pool, Namespace: "public"},
		"BatchSize":             {Name: "a", Database: pool, BatchSize: 100_000},
		"BatchBytes":            {Name: "a", Database: pool, BatchBytes: -1},
		"TransactionIdle":       {Name: "a", Database: pool, TransactionIdle: 1},
		"Retry.Immediate":       {Name: "a", Database: pool, Retry: consumers.Retry{Immediate: -1}},
		"Retry.Delays":          {Name: "a", Database: pool, Retry: consumers.Retry{Delays: []time.Duration{0}}},
		"Topics holds \"a/b\"":  {Name: "a", Database: pool, Topics: []string{"a/b"}},
		"Topics holds persist":  {Name: "a", Database: pool, Topics: []string{"x", "persistent://public/runnel/x"}},
		"Topics holds \"a b\"":  {Name: "a", Database: pool, Topics: []string{"a b"}},
		"Broker.URL":            {Name: "a", Database: pool, Broker: consumers.BrokerConfig{URL: "http://x"}},
		"Broker.AdminURL is ne": {Name: "a", Database: pool, Broker: consumers.BrokerConfig{AdminURL: "pulsar://x"}},
	} {
		_, err := consumers.New(cfg)
		requireFault(t, err, consumers.ErrConfig, word)
	}
	if _, err := consumers.New(consumers.Config{Name: "a", Database: pool}); err != nil {
		t.Errorf("the least configuration: %v", err)
	}
}

func TestBrokerConfigFromEnvironment(t *testing.T) {
	t.Setenv("RUNNEL_PULSAR_URL", "pulsar+ssl://broker:6651")
	t.Setenv("RUNNEL_PULSAR_ADMIN_URL", "https://broker:8443")
	t.Setenv("RUNNEL_PULSAR_TOKEN_FILE", "/token")
	t.Setenv("RUNNEL_PULSAR_CA_FILE", "/ca")
	b := consumers.BrokerConfig{CAFile: "/mine"}.WithDefaults()
	if b.URL != "pulsar+ssl://broker:6651" || b.AdminURL != "https://broker:8443" || b.TokenFile != "/token" || b.CAFile != "/mine" {
		t.Errorf("got %+v", b)
	}
}

func TestRegistrationIsChecked(t *testing.T) {
	good := func(context.Context, pgx.Tx, consumers.Event[OrderPlaced]) error { return nil }
	batch := func(context.Context, pgx.Tx, []consumers.Message) error { return nil }
	for word, register := range map[string]func(*consumers.Projection){
		"no handler": func(*consumers.Projection) {},
		"has a handler already": func(p *consumers.Projection) {
			consumers.Handle(p, good)
			consumers.Handle(p, func(context.Context, pgx.Tx, consumers.Event[OrderPlacedOld]) error { return nil })
		},
		"not a pointer": func(p *consumers.Projection) {
			consumers.Handle(p, func(context.Context, pgx.Tx, consumers.Event[*OrderPlaced]) error { return nil })
		},
		"not a generated event type": func(p *consumers.Projection) {
			consumers.Handle(p, func(context.Context, pgx.Tx, consumers.Event[schemas.Payload]) error { return nil })
		},
		"the handler is nil":    func(p *consumers.Projection) { consumers.Handle[OrderPlaced](p, nil) },
		"needs Config.Topics":   func(p *consumers.Projection) { consumers.HandleBatch(p, batch) },
		"HandleBatch: the hand": func(p *consumers.Projection) { consumers.HandleBatch(p, nil) },
		"beside Handle": func(p *consumers.Projection) {
			consumers.Handle(p, good)
			consumers.HandleBatch(p, batch)
		},
	} {
		p, err := consumers.New(consumers.Config{Name: "a", Database: idlePool(t)})
		if err != nil {
			t.Fatal(err)
		}
		register(p)
		requireFault(t, p.Run(t.Context()), consumers.ErrRegistration, word)
	}
}

func TestRunIsCalledTwice(t *testing.T) {
	w := newWorld(t, 1)
	r := start(t, w.config(t), handleFold)
	w.fill(t, 1, make(truth))
	w.appliedAll(t)
	requireFault(t, r.Run(t.Context()), consumers.ErrRunning)
	r.stop(t)
	consumers.Handle(r.Projection, func(context.Context, pgx.Tx, consumers.Event[OrderShipped]) error { return nil })
	requireFault(t, r.Run(t.Context()), consumers.ErrRegistration, "after Run")
}

// A jump of the ordinal stops the projection; what came before it is kept.
func TestGapStops(t *testing.T) {
	of := broker.Partition{Topic: orders}
	for name, c := range map[string]struct {
		lose  func(log []*broker.Incoming) []*broker.Incoming
		kept  uint64
		words []string
	}{
		"in the middle": {func(log []*broker.Incoming) []*broker.Incoming { return append(log[:4:4], log[5:]...) },
			4, []string{orders + "-partition-0", "expected ordinal 5, found 6", "start version 2 with Config.AllowMissing"}},
		"at the beginning": {func(log []*broker.Incoming) []*broker.Incoming { return log[3:] },
			0, []string{"must begin with ordinal 1, found 4", "beginning is gone"}},
		"another history": {func(log []*broker.Incoming) []*broker.Incoming {
			log[6].Properties[position.Property] = position.Stamp{Position: position.Position{Epoch: 2}, Ordinal: 1}.String()
			return log
		}, 6, []string{"made anew"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			w.fill(t, 10, make(truth))
			w.change(func() { w.logs[of] = c.lose(w.logs[of]) })
			for range 2 { // also after a restart
				r := start(t, w.config(t), handleFold)
				err := r.wait(t)
				requireFault(t, err, consumers.ErrGap, c.words...)
				if at := w.positions(t)[0]; at != c.kept {
					t.Errorf("stands at %d, want %d", at, c.kept)
				}
				if s := r.Status()[0]; !s.Stopped || !errors.Is(s.Err, consumers.ErrGap) {
					t.Errorf("status %+v", s)
				}
			}
			if w.saw.stopped.Load() != 2 {
				t.Errorf("the observer saw %d stops", w.saw.stopped.Load())
			}
		})
	}
}

func TestForeignMessageStops(t *testing.T) {
	of := broker.Partition{Topic: orders}
	w := newWorld(t, 1)
	w.fill(t, 3, make(truth))
	for words, spoil := range map[string]func(map[string]string){
		"no property \"position\"": func(p map[string]string) { delete(p, "position") },
		"position can't be read":   func(p map[string]string) { p["position"] = "5" },
		"is no UUID":               func(p map[string]string) { p["id"] = "5" },
		"no property \"type\"":     func(p map[string]string) { delete(p, "type") },
		"key or type is not text":  func(p map[string]string) { p["type"] = "a\x00" },
		"\"h\" is not text":        func(p map[string]string) { p["h"] = "\xff" },
	} {
		m := w.message(t, of, "a", OrderPlaced{})
		spoil(m.Properties)
		requireFault(t, consumers.ReadAndDecode(t.Context(), w, m, nil), consumers.ErrForeignMessage, words, "1:3")
	}
	m := w.message(t, of, "a", OrderPlaced{})
	m.Properties = nil
	w.append(of, m)
	r := start(t, w.config(t), handleFold)
	requireFault(t, r.wait(t), consumers.ErrForeignMessage)
	if at := w.positions(t)[0]; at != 3 {
		t.Errorf("stands at %d: what came before it is kept", at)
	}
}

func TestUndecodableSaysWhy(t *testing.T) {
	w := newWorld(t, 1)
	of := broker.Partition{Topic: orders}
	good := w.message(t, of, "a", OrderPlaced{Note: "x"})
	read := func(change func(*broker.Incoming), into any) error {
		m := *good
		m.Properties = map[string]string{"id": good.Properties["id"], "type": "OrderPlaced", "position": good.Properties["position"]}
		change(&m)
		return consumers.ReadAndDecode(t.Context(), w, &m, into)
	}
	var e OrderPlaced
	if err := read(func(*broker.Incoming) {}, &e); err != nil || e.Note != "x" {
		t.Errorf("decoded %+v: %v", e, err)
	}
	for word, c := range map[string]struct {
		change func(*broker.Incoming)
		into   any
	}{
		"carries no schema":             {func(m *broker.Incoming) { m.SchemaVersion = -1 }, &e},
		"does not fit the topic's":      {func(m *broker.Incoming) { m.Payload = []byte{40} }, &e},
		"and holds OrderPlaced":         {func(m *broker.Incoming) { m.Properties["type"] = "OrderLost" }, &e},
		"can't be read as *consumers_t": {func(*broker.Incoming) {}, &OrderShipped{}},
		"not a pointer":                 {func(*broker.Incoming) {}, e},
		"payload can't be read":         {func(m *broker.Incoming) { m.Payload = append(append([]byte{}, m.Payload...), 0) }, &e},
	} {
		requireFault(t, read(c.change, c.into), consumers.ErrUndecodable, word, "position 00000001-")
	}
}

func TestSchemaUnavailable(t *testing.T) {
	w := newWorld(t, 1)
	of := broker.Partition{Topic: orders}
	m := w.message(t, of, "a", OrderPlaced{})
	m.SchemaVersion = 9
	w.append(of, m)
	w.pauses.hold = make(chan struct{})
	r := start(t, w.config(t), func(p *consumers.Projection) {
		handleFold(p)
		p.SetSleep(w.pauses.sleep)
	})
	pgtest.Eventually(t, patience, func() bool { s := r.Status(); return len(s) > 0 && s[0].Err != nil }, "an error in the status")
	requireFault(t, r.Status()[0].Err, consumers.ErrSchemaUnavailable, "version 9")
	r.stop(t)
}

func TestVersionIsKept(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 5, want)
	for range 2 { // the tables are made once
		r := start(t, w.config(t), handleFold)
		w.appliedAll(t)
		r.stop(t)
	}

	// The next one is built from the start, with a subscription of its own.
	r := start(t, next(w.config(t)), handleFold)
	w.isLive(t, 2)
	pgtest.Eventually(t, patience, func() bool {
		return w.ackedOf(broker.Partition{Topic: orders}, "fulfilment-v2") > 0
	}, "acknowledged with a subscription of its own")
	r.stop(t)
	w.requireCopy(t, want)
	requireFault(t, start(t, w.config(t), handleFold).wait(t), consumers.ErrVersion, "holds version 2", "this is version 1", "Start version 2")
}

func TestTablesMissing(t *testing.T) {
	w := newWorld(t, 1)
	r := start(t, w.config(t), handleFold)
	pgtest.Eventually(t, patience, func() bool { return len(r.Status()) == 1 }, "it runs")
	w.db.Exec(t, "delete from runnel_projections.projection")
	w.fill(t, 1, make(truth))
	requireFault(t, r.wait(t), consumers.ErrTables, "was removed")

	w.db.Exec(t, "drop schema fulfilment cascade")
	r = start(t, w.config(t), handleFold)
	pgtest.Eventually(t, patience, func() bool { return w.made(t) }, "made again")
	r.stop(t)
	w.db.Exec(t, "drop schema fulfilment cascade")
	requireFault(t, start(t, w.config(t), handleFold).wait(t), consumers.ErrTables, "schema fulfilment", "start version 2")
}

func (w *world) made(t *testing.T) bool {
	return pgtest.Value[bool](t, w.db, "select to_regclass('fulfilment.fold') is not null")
}

func TestMigrateFails(t *testing.T) {
	w := newWorld(t, 1)
	for word, migrate := range map[string]func(context.Context, pgx.Tx) error{
		"SQLSTATE 42P07": func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "create table a (i int); create table a (i int)")
			return err
		},
		"refuses": func(context.Context, pgx.Tx) error { return errHandler },
		"Commit":  func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) },
	} {
		cfg := w.config(t)
		cfg.Migrate = migrate
		requireFault(t, start(t, cfg, handleFold).wait(t), consumers.ErrMigrate, word, "version 1")
		if pgtest.Value[bool](t, w.db, "select to_regnamespace('fulfilment') is not null") {
			t.Errorf("%s: something was left behind", word)
		}
	}
}

func TestRightsMissing(t *testing.T) {
	w := newWorld(t, 1)
	want := make(truth)
	w.fill(t, 5, want)
	url := w.db.CreateRole(t, "service")
	cfg := w.config(t)
	cfg.Database = pgtest.Pool(t, url)
	requireFault(t, start(t, cfg, handleFold).wait(t), consumers.ErrDatabaseRights,
		"create schema if not exists runnel_projections authorization ROLE; create schema if not exists fulfilment authorization ROLE;")

	// The remedy works, without the right to create schemas.
	w.db.Exec(t, fmt.Sprintf("create schema if not exists runnel_projections authorization %[1]s; create schema if not exists fulfilment authorization %[1]s;",
		w.db.Role("service")))
	r := start(t, cfg, handleFold)
	w.appliedAll(t)
	r.stop(t)
	w.requireCopy(t, want)

	// A second service in the same database needs rights on the positions.
	other := w.db.CreateRole(t, "other")
	cfg.Name, cfg.Database = "second", pgtest.Pool(t, other)
	requireFault(t, start(t, cfg, handleFold).wait(t), consumers.ErrDatabaseRights, "grant usage on schema runnel_projections to ROLE")
}

func TestTopicIsNotPartitioned(t *testing.T) {
	w := newWorld(t, 0)
	requireFault(t, start(t, w.config(t), handleFold).wait(t), consumers.ErrTopic, orders)
}

func TestEveryFaultHasARemedy(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range consumers.Faults {
		if f.ID == "" || f.Cause == "" || f.Remedy == "" || seen[f.ID] {
			t.Errorf("%+v", f)
		}
		seen[f.ID] = true
	}
}
