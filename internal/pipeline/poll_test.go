package pipeline

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/outbox"
)

// Somebody who locks the outbox keeps the daemon from seeing what waits in it, and from nothing
// else that it measures.
func TestLockedOutbox(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	roles := outbox.Roles{Owner: db.Role("owner"), Writer: db.Role("writer"), Daemon: db.Role("daemon")}
	if _, err := outbox.Init(t.Context(), db.Conn(t), outbox.InitOptions{Roles: roles}); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Name: "shop", Slot: db.Slot("slot"), Postgres: func() (string, error) { return db.URL(), nil }}
	db.Exec(t, "select pg_create_logical_replication_slot($1, 'pgoutput')", cfg.Slot)
	r := &run{cfg: cfg, report: newReporter(cfg), log: slog.New(slog.DiscardHandler)}
	locking, err := db.Conn(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := locking.Exec(t.Context(), "lock table runnel.outbox"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.pollLag(ctx) }()
	pgtest.Eventually(t, 10*time.Second, func() bool { return r.report.status().LagBytes != nil })
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for began := time.Now(); time.Since(began) < lagInterval+2*oldestLimit; <-look.C {
		if r.report.status().LagBytes == nil {
			t.Error("the lag is not measured while the outbox is locked")
			break
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
