package readerstest

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
)

// kills is how often each reader is killed while orders change.
const kills = 2

// While orders are placed, paid, shipped and cancelled, each reader is killed
// again and again, once surely within a transaction, and its successor starts
// before it is dead. In the end every copy equals the one in Go and the orders
// themselves, and every event was counted once.
func TestCopiesAreEqual(t *testing.T) {
	readers, w := programs(t), newWorld(t)
	copies := t.TempDir()
	file := func(p program) string { return filepath.Join(copies, p.name+".db") }
	w.fulfil()
	stop := w.work()
	t.Run("killed", func(t *testing.T) {
		for _, p := range readers {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				if err := p.killed(t, w, file(p)); err != nil {
					t.Fatal(err)
				}
				if err := p.killedWithin(t, w, database{t, readers, file(p)}); err != nil {
					t.Fatal(err)
				}
			})
		}
	})
	stop()
	if t.Failed() {
		return
	}

	total := w.events()
	pgtest.Eventually(t, patience, func() bool {
		return pgtest.Value[int](t, w.db, "select coalesce(sum(ordinal), 0)::int from runnel_projections.position") == total
	}, "the copy in Go to apply %d events", total)
	source := w.rows("public.orders")
	compare(t, "the copy in Go", w.rows("fulfilment.orders"), source)
	for _, p := range readers {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			r, err := p.start(t.Context(), w.broker, file(p), w.topic(), "--until-idle")
			if err != nil {
				t.Fatal(err)
			}
			if err := r.wait(); err != nil {
				t.Fatalf("%v\n%s", err, r.text())
			}
			rows, counted := r.copy(t)
			compare(t, "the copy in "+p.name, rows, source)
			if counted.Applied != total || counted.Unknown != 0 {
				t.Errorf("%d events were applied and %d of unknown type, of %d that were committed", counted.Applied, counted.Unknown, total)
			}
			if r.begun == 0 || r.begun >= total {
				t.Errorf("after it was killed, the reader began after %d of %d events", r.begun, total)
			}
			t.Logf("the last one began after %d of %d events, and made %d transactions; %d orders", r.begun, total, r.passed, len(rows))
		})
	}
}

// killed starts the reader, and kills it when its successor is at work on the
// same copy, several times; in the end the last one dies as well.
func (p program) killed(t *testing.T, w *world, file string) error {
	random := rand.New(rand.NewPCG(1, uint64(len(p.name))))
	var last *process
	for range kills {
		next, err := p.start(t.Context(), w.broker, file, w.topic())
		if err == nil {
			err = next.moves()
		}
		if err != nil {
			return err
		}
		select { // somewhere in its transactions
		case <-t.Context().Done():
			return t.Context().Err()
		case <-time.After(time.Duration(random.IntN(100)) * time.Millisecond):
		}
		if last != nil {
			if err := last.kill(); err != nil {
				return err
			}
		}
		last = next
	}
	return last.kill()
}

// killedWithin kills the reader in a transaction that has written rows, and not
// yet the position that they reach: a trigger holds it there.
func (p program) killedWithin(t *testing.T, w *world, copied database) error {
	copied.run(`
db.executescript("""
create view forever as with recursive c(x) as (select 1 union all select x from c) select x from c;
create trigger trap before insert on position when new.ordinal % 5 = 0 begin select count(*) from forever; end""")`)
	r, err := p.start(t.Context(), w.broker, copied.file, w.topic())
	if err != nil {
		return err
	}
	// It is there when nobody else gets the lock for a second.
	copied.run(`
import time
while True:
    other = sqlite3.connect(sys.argv[1], timeout=1)
    try:
        other.execute("begin immediate")
    except sqlite3.OperationalError:
        break
    other.close()
    time.sleep(0.02)`)
	if err := r.kill(); err != nil {
		return err
	}
	copied.run(`db.executescript("drop trigger trap; drop view forever")`)
	return nil
}

// counts is what a reader counted, over all its lives.
type counts struct{ Applied, Unknown int }

// copy reads what a reader printed.
func (r *process) copy(t *testing.T) (rows []string, counted counts) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.out.String()), "\n")
	last := lines[len(lines)-1]
	if err := json.Unmarshal([]byte(last), &counted); err != nil {
		t.Fatalf("the last line is %q: %v", last, err)
	}
	return lines[:len(lines)-1], counted
}

func compare(t *testing.T, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) && len(want) > 0 {
		return
	}
	missing, more := "", ""
	for _, line := range want {
		if !slices.Contains(got, line) {
			missing += fmt.Sprintln("  not there:", line)
		}
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			more += fmt.Sprintln("  instead:  ", line)
		}
	}
	t.Errorf("%s: %d orders, want %d\n%.2000s%.2000s", what, len(got), len(want), missing, more)
}
