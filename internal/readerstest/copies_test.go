package readerstest

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/runnel-cdc/runnel/internal/pgtest"
	"github.com/runnel-cdc/runnel/internal/readerstest/programs"
)

// kills is how often each reader is killed while orders change.
const kills = 2

// While orders are placed, paid, shipped and cancelled, each reader is killed
// again and again, once surely within a transaction, and its successor starts
// before it is dead. In the end every copy equals the one in Go and the orders
// themselves, and every event was counted once.
func TestCopiesAreEqual(t *testing.T) {
	run := programs.New(t)
	readers, w := run.Readers(t), newWorld(t)
	copies := t.TempDir()
	file := func(p programs.Program) string { return filepath.Join(copies, p.Name+".db") }
	w.fulfil()
	stop := w.work()
	t.Run("killed", func(t *testing.T) {
		for _, p := range readers {
			t.Run(p.Name, func(t *testing.T) {
				t.Parallel()
				if err := killed(t, p, w, file(p)); err != nil {
					t.Fatal(err)
				}
				if err := killedWithin(t, p, w, database{t, run, file(p)}); err != nil {
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
	programs.Compare(t, "the copy in Go", w.rows("fulfilment.orders"), source)
	for _, p := range readers {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			r, err := p.Start(t.Context(), file(p), w.topic(), "--until-idle")
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Wait(); err != nil {
				t.Fatalf("%v\n%s", err, r.Text())
			}
			rows, counted := r.Copy(t)
			programs.Compare(t, "the copy in "+p.Name, rows, source)
			if counted.Applied != total || counted.Unknown != 0 {
				t.Errorf("%d events were applied and %d of unknown type, of %d that were committed", counted.Applied, counted.Unknown, total)
			}
			if r.Begun() == 0 || r.Begun() >= total {
				t.Errorf("after it was killed, the reader began after %d of %d events", r.Begun(), total)
			}
			t.Logf("the last one began after %d of %d events, and made %d transactions; %d orders", r.Begun(), total, r.Passed(), len(rows))
		})
	}
}

// killed starts the reader, and kills it when its successor is at work on the
// same copy, several times; in the end the last one dies as well.
func killed(t *testing.T, p programs.Program, w *world, file string) error {
	random := rand.New(rand.NewPCG(1, uint64(len(p.Name))))
	var last *programs.Process
	for range kills {
		next, err := p.Start(t.Context(), file, w.topic())
		if err == nil {
			err = next.Moves()
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
			if err := last.KillLive(); err != nil {
				return err
			}
		}
		last = next
	}
	return last.KillLive()
}

// killedWithin kills the reader in a transaction that has written rows, and not
// yet the position that they reach: a trigger holds it there.
func killedWithin(t *testing.T, p programs.Program, w *world, copied database) error {
	copied.script(`
db.executescript("""
create view forever as with recursive c(x) as (select 1 union all select x from c) select x from c;
create trigger trap before insert on position when new.ordinal % 5 = 0 begin select count(*) from forever; end""")`)
	r, err := p.Start(t.Context(), copied.file, w.topic())
	if err != nil {
		return err
	}
	// It is there when nobody else gets the lock for a second.
	copied.script(`
import time
while True:
    other = sqlite3.connect(sys.argv[1], timeout=1)
    try:
        other.execute("begin immediate")
    except sqlite3.OperationalError:
        break
    other.close()
    time.sleep(0.02)`)
	if err := r.KillLive(); err != nil {
		return err
	}
	copied.script(`db.executescript("drop trigger trap; drop view forever")`)
	return nil
}
