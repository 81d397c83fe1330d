package copytest

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pulsartest"
	"github.com/runnel-cdc/runnel/outbox"
)

// patience bounds a wait in which nothing moves; a machine may be busy.
const patience = 90 * time.Second

// source is a database with an outbox, and its topics' namespace.
type source struct {
	t         *testing.T
	db        *pgtest.DB
	namespace string
	roles     outbox.Roles
	schemas   string
}

func newSource(t *testing.T, schemas string) *source {
	t.Helper()
	return sourceIn(t, pgtest.New(t), schemas)
}

// sourceIn makes a source of a database that has tables already.
func sourceIn(t *testing.T, db *pgtest.DB, schemas string) *source {
	t.Helper()
	s := &source{t: t, db: db, namespace: pulsartest.NamespaceName(t), schemas: schemas,
		roles: outbox.Roles{Owner: db.Role("owner"), Writer: db.Role("writer"), Daemon: db.Role("daemon")}}
	if _, err := outbox.Init(t.Context(), db.Conn(t), outbox.InitOptions{Roles: s.roles}); err != nil {
		t.Fatal(err)
	}
	return s
}

// daemon starts the source's daemon, and waits until it streams.
func (s *source) daemon() *process {
	s.t.Helper()
	p := start(s.t, settings{Role: roleDaemon, Namespace: s.namespace, Postgres: s.db.URL(), Pulsar: pulsartest.URL(s.t), PulsarAdmin: pulsartest.AdminURL(s.t),
		Name: s.db.Name(), Slot: s.db.Slot("slot"), Schemas: s.schemas, Roles: s.roles})
	pgtest.Eventually(s.t, patience, func() bool {
		p.mustLive()
		return pgtest.Value[bool](s.t, s.db, "select exists (select from pg_replication_slots where slot_name = $1 and active)", s.db.Slot("slot"))
	}, "the daemon streams")
	return p
}

// committed is how many events were published.
func (s *source) committed() int {
	s.t.Helper()
	return pgtest.Value[int](s.t, s.db, "select count(*)::int from runnel.outbox")
}

// copied is a database with a projection of a source's events.
type copied struct {
	t    *testing.T
	db   *pgtest.DB
	pool *pgxpool.Pool
	from *source
	name string // of the projection
}

// newCopy makes a database for a copy of walks.
func newCopy(t *testing.T, from *source) *copied {
	t.Helper()
	db := pgtest.New(t)
	db.Exec(t, outside)
	return &copied{t, db, db.Pool(t), from, walksName}
}

// projection starts a process of the projection.
func (c *copied) projection(change func(*settings)) *process {
	c.t.Helper()
	s := settings{Role: roleWalks, Namespace: c.from.namespace, Postgres: c.db.URL(), Pulsar: pulsartest.URL(c.t), PulsarAdmin: pulsartest.AdminURL(c.t), Version: 1}
	if change != nil {
		change(&s)
	}
	return start(c.t, s)
}

// version returns one of the projection's copies, or nil.
func (c *copied) version(n int) *consumers.Copy {
	c.t.Helper()
	all, err := consumers.Copies(c.t.Context(), c.pool, c.name)
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range all {
		if all[i].Version == n {
			return &all[i]
		}
	}
	return nil
}

// passed is how many events a version's positions cover.
func (c *copied) passed(version int) int {
	c.t.Helper()
	if is := c.version(version); is != nil {
		return int(is.Passed)
	}
	return 0
}

// awaits waits until a version has passed n events, as long as something moves and
// the processes that are to do it live.
func (c *copied) awaits(version, n int, alive ...*process) {
	c.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	was, until := -1, time.Time{}
	for {
		now := c.passed(version)
		switch {
		case now >= n:
			return
		case now != was:
			was, until = now, time.Now().Add(patience)
		case time.Now().After(until):
			c.t.Fatalf("version %d has stayed at %d of %d events for %s", version, now, n, patience)
		}
		for _, p := range alive {
			p.mustLive()
		}
		<-tick.C
	}
}

// requireWalks compares the copy with what was committed: the last step of every
// walk, and that every step had its effect once. Nothing may be parked.
func (c *copied) requireWalks(want map[string]int64) {
	c.t.Helper()
	parked, err := consumers.Parked(c.t.Context(), c.pool, c.name, consumers.ParkedFilter{}, 3)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range parked {
		c.t.Errorf("parked: %s of %s: %s", e.Message.ID, e.Message.AggregateID, e.Error)
	}
	for _, table := range []string{c.name + ".walk", "public.effect"} {
		if got := c.table(table); !maps.Equal(got, want) {
			c.t.Errorf("%s: %s", table, differences(got, want))
		}
	}
}

func (c *copied) table(name string) map[string]int64 {
	c.t.Helper()
	rows, _ := c.pool.Query(c.t.Context(), "select id, n from "+name)
	all := make(map[string]int64)
	var id string
	var n int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &n}, func() error { all[id] = n; return nil }); err != nil {
		c.t.Fatal(err)
	}
	return all
}

// differences tells a few of the walks that are not the same.
func differences(got, want map[string]int64) string {
	var b strings.Builder
	n := 0
	tell := func(id string) {
		if n++; n <= 5 {
			fmt.Fprintf(&b, "%s: %d steps, want %d; ", id, got[id], want[id])
		}
	}
	for id := range want {
		if got[id] != want[id] {
			tell(id)
		}
	}
	for id := range got {
		if _, known := want[id]; !known {
			tell(id)
		}
	}
	return fmt.Sprintf("%d of %d walks differ: %s", n, len(want), &b)
}
