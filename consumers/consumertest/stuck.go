package consumertest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/runnel-cdc/runnel/internal/broker"
)

// A projection that does not move, by the machine's clock, is waiting for a lock or
// for its handler. The test is told after a while, and fails before go test's own
// limit would kill it without a word.
const (
	defaultStuckHint  = 5 * time.Second
	defaultStuckLimit = time.Minute
)

// watchdog is looked at while a projection lives.
type watchdog struct {
	tick  *time.Ticker
	moved time.Time
	moves int
	told  bool
}

// moving is called whenever the projection does something. h.mu is held.
func (h *Harness) moving() { h.moves++ }

func (h *Harness) newWatchdog() *watchdog {
	return &watchdog{tick: time.NewTicker(100 * time.Millisecond), moved: time.Now()}
}

// look returns why the projection is stuck, when it has been for too long.
func (w *watchdog) look(h *Harness) (why string) {
	h.mu.Lock()
	moves := h.moves
	h.mu.Unlock()
	if moves != w.moves {
		w.moves, w.moved, w.told = moves, time.Now(), false
		return ""
	}
	still := time.Since(w.moved)
	limit := h.stuckLimit
	if t, ok := h.t.(interface{ Deadline() (time.Time, bool) }); ok {
		if at, set := t.Deadline(); set && time.Until(at) < h.stuckHint {
			limit = min(limit, h.stuckHint)
		}
	}
	if still >= limit {
		return h.whyStuck()
	}
	if still >= h.stuckHint && !w.told {
		w.told = true
		h.t.Logf("projection %s has done nothing for %s: %s", h.about.Name, still.Round(time.Second), h.whyStuck())
	}
	return ""
}

// whyStuck looks at the database from a connection of its own.
func (h *Harness) whyStuck() string {
	if text := h.waitingForLocks(); text != "" {
		return text + "\n→ Two harnesses on transactions of their own in one test wait for each other: give both the same transaction, " +
			"or roll the first back before the second begins, as t.Run does."
	}
	var next []string
	h.mu.Lock()
	for _, name := range h.about.Topics {
		for i, given := range h.topics[name].what {
			if seen := h.seen[broker.Partition{Topic: name, Index: i}]; seen < len(given) {
				next = append(next, given[seen])
			}
		}
	}
	h.mu.Unlock()
	if len(next) == 0 {
		return "no session of its database waits for a lock, and all events were applied"
	}
	return "no session of its database waits for a lock\n→ Perhaps a handler does not return; the next event is " + strings.Join(next, ", or ")
}

// waitingForLocks names the sessions that wait, and those that they wait for; empty:
// none does, or it can't be known.
func (h *Harness) waitingForLocks() string {
	ctx, cancel := context.WithTimeout(context.Background(), defaultStuckHint)
	defer cancel()
	var cfg *pgx.ConnConfig
	switch db := h.db.(type) {
	case *pgxpool.Pool:
		cfg = db.Config().ConnConfig
	case interface{ Config() *pgx.ConnConfig }:
		cfg = db.Config()
	case pgx.Tx:
		cfg = db.Conn().Config()
	default:
		return ""
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, _ := conn.Query(ctx, `select format('session %s waits (%s) for session %s, which is %s (%s)',
			w.pid, left(w.query, 200), b.pid, b.state, left(b.query, 200))
		from pg_stat_activity w, unnest(pg_blocking_pids(w.pid)) as by (pid) join pg_stat_activity b using (pid)
		where w.datname = current_database() order by w.pid limit 5`)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Sprintf("what it waits for can't be read: %v", err)
	}
	return strings.Join(lines, "\n")
}
