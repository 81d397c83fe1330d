package cli

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/runnel-cdc/runnel/consumers"
	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// A rebuild that is cancelled, one that takes its place, and the old copy's end.
func TestRebuildCommands(t *testing.T) {
	db := pgtest.New(t)
	l := newLive(t, db)
	if code, _, text := l.run(t.Context(), "rebuild", "status", "--projection", "copy"); code != 2 || !strings.Contains(text, "no projection ever ran in this one") {
		t.Errorf("before there is a projection: %q", text)
	}
	l.must("init")
	l.startDaemon()
	db.Exec(t, "select runnel.publish('order', (n % 5)::text, 'Placed', jsonb_build_object('n', n)) from generate_series(1, 20) n")

	var sick atomic.Bool
	handle := func(_ context.Context, _ pgx.Tx, all []consumers.Message) error {
		if sick.Load() {
			return errors.New("not today")
		}
		return nil
	}
	var status rebuildStatusResult
	await := func(what string, cond func(consumers []copyResult) bool) {
		t.Helper()
		pgtest.Eventually(t, time.Minute, func() bool {
			l.result(&status, "rebuild", "status", "--projection", "copy")
			return cond(status.Copies)
		}, what+": %v", func() string { return l.must("rebuild", "status", "--projection", "copy") })
	}
	l.startProjection(db, consumers.Config{Name: "copy"}, handle)
	await("the first version", func(all []copyResult) bool { return len(all) == 1 && all[0].Passed == 20 && all[0].State == "live" })
	sick.Store(true)
	stop := l.startProjection(db, consumers.Config{Name: "copy", Version: 2}, handle)
	await("the second", func(all []copyResult) bool { return len(all) == 2 && all[1].State == "building" && all[1].Parked > 0 })
	if text := l.must("rebuild", "status", "--projection", "copy"); !strings.Contains(text, "version 2 waits with ") || !strings.Contains(text, "copy_next") {
		t.Errorf("status: %s", text)
	}
	// Both copies park an event: whose is discarded has to be said.
	db.Exec(t, "select runnel.publish('order', '7', 'Placed', jsonb_build_object('n', 21))")
	await("both to have parked it", func(all []copyResult) bool { return len(all) == 2 && all[0].Parked == 1 && all[1].Passed == 21 })
	if code, _, stderr := l.run(t.Context(), "dlq", "discard", "--projection", "copy", "--key", "7"); code != 2 ||
		!strings.Contains(stderr, "1 of version 1, which is live; 1 of version 2, which is building") || !strings.Contains(stderr, "--version") {
		t.Errorf("discard: exit code %d, %s", code, stderr)
	}
	if text := l.must("dlq", "discard", "--projection", "copy", "--key", "7", "--version", "1", "--yes"); text != "1 event discarded\n" {
		t.Errorf("discard: %s", text)
	}
	if text := l.must("dlq", "list", "--projection", "copy", "--version", "2"); !strings.Contains(text, "VERSION") {
		t.Errorf("list: %s", text)
	}
	if text := l.must("rebuild", "cancel", "--projection", "copy"); text != "the copy that is being built, version 2, would be removed; --yes does it\n" {
		t.Errorf("cancel without --yes: %s", text)
	}
	if text := l.must("rebuild", "cancel", "--projection", "copy", "--yes"); text != "the copy that is being built, version 2, was removed\n" {
		t.Errorf("cancel: %s", text)
	}
	if err := stop(); err != nil && !errors.Is(err, consumers.ErrTables) {
		t.Error(err)
	}
	sick.Store(false)
	l.startProjection(db, consumers.Config{Name: "copy", Version: 2}, handle)
	await("the swap", func(all []copyResult) bool {
		return len(all) == 2 && all[0].State == "old" && all[1].State == "live" && all[1].Passed == 21 && all[1].SwappedAt != nil
	})
	if text := l.must("rebuild", "drop", "--projection", "copy", "--yes"); text != "the old copy, version 1, was removed\n" {
		t.Errorf("drop: %s", text)
	}
	if text := l.must("rebuild", "drop", "--projection", "copy"); text != "there is no old copy\n" {
		t.Errorf("drop again: %s", text)
	}
	if code, _, stderr := l.run(t.Context(), "rebuild", "status"); code != 2 || !strings.Contains(stderr, "--projection is missing") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
