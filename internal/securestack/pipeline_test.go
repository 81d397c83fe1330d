package securestack_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/examples/quickstart/events"
	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/config"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
	"github.com/runnel-cdc/runnel/internal/securestack"
	"github.com/runnel-cdc/runnel/outbox"
)

// world is a source database, a daemon and a projection, each with the rights of
// its duty and no more.
type world struct {
	t          *testing.T
	db         *pgtest.DB
	cfg        pipeline.Config
	password   string // the file with the daemon's
	publisher  *tokenFile
	projection *tokenFile
	copies     *pgtest.DB
	written    int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: pgtest.NewOn(t, stack.PostgresURL), copies: pgtest.NewOn(t, stack.PostgresURL),
		publisher: token(t, daemon), projection: token(t, consumer)}
	roles := outbox.Roles{Owner: w.db.Role("owner"), Writer: w.db.Role("writer"), Daemon: w.db.Role("daemon")}
	if _, err := outbox.Init(t.Context(), w.db.Conn(t), outbox.InitOptions{Roles: roles}); err != nil {
		t.Fatal(err)
	}
	membership(t, w.db, "with_both", roles.Daemon)
	w.password = file(t, "password", nil)
	w.setPassword("the first of the passwords")
	source := &config.Config{Postgres: config.Postgres{
		URL: w.db.URLAs(roles.Daemon) + certificate(t, stack.Authority, roles.Daemon, 0), PasswordFile: w.password,
	}}
	w.cfg = pipeline.Config{
		Name: w.db.Name(), Slot: w.db.Slot("slot"), Postgres: source.PostgresURL, Broker: with(w.publisher),
		Namespace: namespaceName(t), Schemas: "../../examples/quickstart/schemas", Roles: roles,
		Recheck: time.Second, Logger: slog.New(slog.NewTextHandler(&written, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	return w
}

// setPassword changes the daemon's password, in the database and in the file.
func (w *world) setPassword(password string) {
	w.t.Helper()
	secrets.add(password)
	w.db.Exec(w.t, fmt.Sprintf("alter role %s password '%s'", w.db.Role("daemon"), password))
	if err := os.WriteFile(w.password, []byte(password+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// start runs a pipeline until the returned function is called.
func (w *world) start(cfg pipeline.Config) (*pipeline.Pipeline, func()) {
	w.t.Helper()
	p, err := pipeline.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stop := func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	}
	return p, stop
}

// project runs the projection until the test ends.
func (w *world) project() {
	w.t.Helper()
	b := with(w.projection)
	p, err := consumers.New(consumers.Config{
		Name: "copy", Database: w.copies.Pool(w.t), Namespace: w.cfg.Namespace, Topics: []string{"order"},
		Broker: consumers.BrokerConfig{URL: b.URL, AdminURL: b.AdminURL, CAFile: b.CAFile, TokenFile: b.TokenFile},
		Logger: b.Logger,
		Migrate: func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, `create table shipped (order_id text primary key)`)
			return err
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	consumers.Handle(p, func(ctx context.Context, tx pgx.Tx, e consumers.Event[events.OrderShipped]) error {
		_, err := tx.Exec(ctx, `insert into shipped values ($1)`, e.Payload.OrderID) // twice would fail
		return err
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

// write commits n events, one a transaction.
func (w *world) write(n int) {
	w.t.Helper()
	w.db.Exec(w.t, fmt.Sprintf(`do $$ begin for i in %d .. %d loop
		perform runnel.publish('order', (i %% 17)::text, 'OrderShipped', jsonb_build_object(
			'order_id', i::text, 'carrier', 'DHL', 'shipped_at', now()));
		commit;
	end loop; end $$`, w.written+1, w.written+n))
	w.written += n
}

// applied waits until the projection holds all that was written.
func (w *world) applied() {
	w.t.Helper()
	begin := time.Now()
	eventually(w.t, fmt.Sprintf("%d events in the copy", w.written), func() bool { return w.count() == w.written })
	w.t.Logf("applied after %v", time.Since(begin).Round(10*time.Millisecond))
}

func (w *world) count() int {
	return pgtest.Value[int](w.t, w.copies, `select case when to_regclass('copy.shipped') is null then 0
		else (xpath('/row/n/text()', query_to_xml('select count(*) n from copy.shipped', false, true, '')))[1]::text::int end`)
}

// reaches waits until the pipeline is in a state, with a code.
func (w *world) reaches(p *pipeline.Pipeline, state, code string) {
	w.t.Helper()
	var st pipeline.Status
	begin := time.Now()
	eventually(w.t, "state "+state+" "+code, func() bool {
		st = p.Status()
		return st.State == state && st.Code == code
	})
	_, _ = fmt.Fprintf(&written, "%+v\n", st)
	w.t.Logf("%s %s after %v: %s → %s", state, code, time.Since(begin).Round(10*time.Millisecond), st.Message, st.Remedy)
}

// hangUp ends the daemon's sessions, which were greeted under what held before.
func (w *world) hangUp() {
	w.t.Helper()
	w.db.Exec(w.t, `select pg_terminate_backend(pid) from pg_stat_activity where usename = $1`, w.db.Role("daemon"))
}

// A daemon that may produce and consume, and a projection that may consume, go
// through all that can happen to credentials, and lose and double nothing.
func TestTroubleWithCredentials(t *testing.T) {
	w := newWorld(t)
	setUp := w.cfg
	setUp.AutoApply, setUp.Broker = true, as(t, provisioner)
	p, stop := w.start(setUp)
	w.reaches(p, pipeline.Streaming, "")
	w.write(20)
	stop()

	// The daemon's role has no grant yet.
	p, stop = w.start(w.cfg)
	defer func() { stop() }()
	w.reaches(p, pipeline.Halted, "PULSAR_FORBIDDEN")
	grant(t, w.cfg.Namespace, daemon, "produce", "consume")
	w.reaches(p, pipeline.Streaming, "")
	grant(t, w.cfg.Namespace, consumer, "consume")
	w.project()
	w.write(20)
	w.applied()

	// The grant is taken away while it runs, and given back.
	grant(t, w.cfg.Namespace, daemon, "consume")
	w.write(20)
	w.reaches(p, pipeline.Halted, "PULSAR_FORBIDDEN")
	grant(t, w.cfg.Namespace, daemon, "produce", "consume")
	w.applied()
	w.reaches(p, pipeline.Streaming, "")

	// So is the projection's.
	grant(t, w.cfg.Namespace, consumer)
	eventually(t, "the broker to disconnect the projection", func() bool {
		var stats struct {
			Subscriptions map[string]struct {
				Consumers []json.RawMessage `json:"consumers"`
			} `json:"subscriptions"`
		}
		if err := json.Unmarshal(admin(t, http.MethodGet, "/persistent/"+w.cfg.Namespace+"/order/partitioned-stats", nil), &stats); err != nil {
			t.Fatal(err)
		}
		for _, s := range stats.Subscriptions {
			if len(s.Consumers) > 0 {
				return false
			}
		}
		return len(stats.Subscriptions) > 0
	})
	before := w.count()
	w.write(20)
	eventually(t, "the events to be published", func() bool {
		topics := p.Status().Topics
		return len(topics) > 0 && pgtest.Value[int64](t, w.db, "select coalesce(sum(ordinal), 0)::bigint from runnel.progress_partition") == int64(w.written)
	})
	if n := w.count(); n != before {
		t.Errorf("the projection without a grant went on from %d to %d", before, n)
	}
	grant(t, w.cfg.Namespace, consumer, "consume")
	w.applied()

	// The token expires, and is replaced.
	w.publisher.write(daemon, time.Now().Add(time.Second))
	w.hangUp() // the next run shows it
	w.write(20)
	w.reaches(p, pipeline.Retrying, "PULSAR_UNAUTHORIZED")
	w.publisher.write(daemon, time.Time{})
	w.applied()
	w.reaches(p, pipeline.Streaming, "")

	// The password is changed, first on the server and then in the file.
	next := "the second of the passwords"
	secrets.add(next)
	w.db.Exec(t, fmt.Sprintf("alter role %s password '%s'", w.db.Role("daemon"), next))
	w.hangUp()
	w.write(20)
	w.reaches(p, pipeline.Retrying, "PG_AUTH")
	w.setPassword(next)
	w.applied()
	w.reaches(p, pipeline.Streaming, "")

	// The database server's certificate expires, and is renewed.
	admin := w.db.Conn(t)
	show := func(expires time.Duration) {
		t.Helper()
		pair, err := stack.Authority.Issue(securestack.Request{Hosts: []string{securestack.Host}, Expires: expires})
		if err == nil {
			err = stack.ReplacePostgresCertificate(pair.Certificate, pair.Key)
		}
		if err == nil {
			_, err = admin.Exec(t.Context(), "select pg_reload_conf()")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	show(-time.Minute)
	eventually(t, "the expired certificate", func() bool {
		_, err := admin.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where usename = $1`, w.db.Role("daemon"))
		return err == nil && p.Status().Code == "PG_TLS"
	})
	show(0)
	w.reaches(p, pipeline.Streaming, "")
	w.write(20)
	w.applied()

	// The broker gets another key for tokens, and for a while an expired
	// certificate as well.
	if err := stack.ChangeTokenKey(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.write(20)
	w.reaches(p, pipeline.Retrying, "PULSAR_UNAUTHORIZED")
	bad, err := stack.Authority.Issue(securestack.Request{Hosts: []string{securestack.Host}, Expires: -time.Minute})
	if err == nil {
		err = stack.ReplacePulsarCertificate(bad.Certificate, bad.Key)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.reaches(p, pipeline.Halted, "PULSAR_TLS")
	good, err := stack.Authority.Issue(securestack.Request{Hosts: []string{securestack.Host}})
	if err == nil {
		err = stack.ReplacePulsarCertificate(good.Certificate, good.Key)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.publisher.write(daemon, time.Time{})
	w.projection.write(consumer, time.Time{})
	w.applied()
	w.reaches(p, pipeline.Streaming, "")
	stop()
	stop = func() {}

	// Counted in the topic itself: each event is there once.
	ids := map[string]int{}
	reading := dial(t, with(w.projection))
	for i := range 4 {
		r, err := reading.Read(t.Context(), broker.Partition{Topic: "persistent://" + w.cfg.Namespace + "/order", Index: i}, broker.Start{})
		if err != nil {
			t.Fatal(err)
		}
		for {
			more, err := r.HasNext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !more {
				break
			}
			m, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ids[m.Properties["id"]]++
		}
		r.Close()
	}
	if len(ids) != w.written {
		t.Errorf("%d different events of %d in the topic", len(ids), w.written)
	}
	for id, n := range ids {
		if n != 1 {
			t.Errorf("event %s is there %d times", id, n)
		}
	}
}
