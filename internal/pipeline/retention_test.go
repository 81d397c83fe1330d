package pipeline_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/devstack"
	"github.com/runnel-cdc/runnel/internal/devstack/stacktest"
	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/pipeline"
)

// TestWarnsOfRetainedWAL: an outbox that is idle on a busy server. The slot moves
// on by itself, until a transaction is left open; then log, status and metrics
// name it, long before the slot is lost, and say when it is over.
func TestWarnsOfRetainedWAL(t *testing.T) {
	t.Parallel()
	major := pgtest.Value[int](t, pgtest.New(t), "select current_setting('server_version_num')::int") / 10000
	options := devstack.Options{Postgres: true, PGVersion: strconv.Itoa(major)}
	if err := devstack.Installed(t.Context(), options); err != nil {
		t.Skip(err) // the shared server is another machine's
	}
	stack := stacktest.Up(t, options)
	w := newWorldOn(t, pgtest.NewOn(t, stack.PostgresURL))
	w.init()
	var log lines
	w.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	w.cfg.HTTP = "127.0.0.1:0"
	busy := pgtest.NewOn(t, stack.PostgresURL)
	busy.Exec(t, "create table t (n int)")
	busy.Exec(t, "alter system set max_slot_wal_keep_size = '64MB'")
	busy.Exec(t, "select pg_reload_conf()")
	p, stop := w.start()
	defer stop()
	reaches(t, p, pipeline.Streaming, "")
	write := func() {
		busy.Exec(t, "select pg_logical_emit_message(true, 'busy', repeat('x', 16 << 20))")
		busy.Exec(t, "checkpoint") // logs which transactions run, as the server does every 15 s
	}
	codes := func() string {
		var all []string
		for _, x := range p.Status().Warnings {
			all = append(all, x.Code)
		}
		return strings.Join(all, " ")
	}

	// Twice the limit, a quarter at a time.
	for range 8 {
		write()
		w.caughtUp()
	}
	if got := codes(); got != "" {
		t.Errorf("%s without anything open", got)
	}

	session := busy.Conn(t)
	if _, err := session.Exec(t.Context(), "set application_name = 'forgotten'; begin; insert into t values (1)"); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		write()
	}
	pgtest.Eventually(t, 20*time.Second, func() bool { return codes() == "SLOT_AT_RISK WAL_HELD_BY_TRANSACTION" }, "the warnings, have %s", codes)
	for _, x := range p.Status().Warnings {
		if x.Code == "WAL_HELD_BY_TRANSACTION" && (!strings.Contains(x.Message, `"forgotten"`) || !strings.Contains(x.Remedy, "pg_terminate_backend")) {
			t.Errorf("%+v", x)
		}
	}
	pgtest.Eventually(t, 20*time.Second, func() bool { lag := p.Status().LagBytes; return lag != nil && *lag < 1<<20 }, "all of it is confirmed")
	reaches(t, p, pipeline.Streaming, "")
	_, address, _ := strings.Cut(log.String(), "metrics=")
	address, _, _ = strings.Cut(address, "\n")
	response, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`runnel_warning{code="SLOT_AT_RISK"} 1`, `runnel_warning{code="WAL_HELD_BY_TRANSACTION"} 1`,
		"runnel_slot_wal_limit_bytes 6.7108864e+07", "runnel_slot_safe_wal_bytes ", "runnel_slot_retained_wal_bytes ",
		"runnel_slot_held_wal_bytes ", "runnel_slot_inactive_seconds 0", `runnel_slot_wal_status_info{wal_status="`,
	} {
		if !strings.Contains(string(metrics), want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}

	if _, err := session.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	pgtest.Eventually(t, 20*time.Second, func() bool {
		busy.Exec(t, "checkpoint")
		return codes() == ""
	}, "no warnings, have %s", codes)
	stop()
	for _, want := range []string{"attention\" code=SLOT_AT_RISK", "attention\" code=WAL_HELD_BY_TRANSACTION", "over\" code=SLOT_AT_RISK", "over\" code=WAL_HELD_BY_TRANSACTION"} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("%q is in the log %d times:\n%s", want, n, log.String())
		}
	}
}

// lines is a log that a test can read.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
